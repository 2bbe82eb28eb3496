"""Invalid environments and lifetimes of zero updates raise a ValueError."""

import re

import jax
import jax.numpy as jnp
import pytest

from lopt.agents import episode_returns, reset, rollout
from lopt.agents.rollout import check_environment
from lopt.curriculum import FrozenSet
from lopt.tasks import Variations
from tests.reference import pair, supervised
from tests.reference.lifetimes import ppo, rl_lifetime
from tests.reference.pair import Pair

KEY = jax.random.key(0)


class Gymnax(Pair):
    """An environment whose step returns gymnax's tuple."""

    def step(self, key, state, action, params):
        timestep, state = super().step(key, state, action, params)
        return timestep.obs, state, timestep.reward, timestep.discount == 0, {}


class Unsized:
    """An environment without `num_actions` and `action_size`."""

    def reset(self, key, params):
        return Pair().reset(key, params)

    def step(self, key, state, action, params):
        return Pair().step(key, state, action, params)


class ObservationOnly(Pair):
    """An environment whose reset returns the observation alone."""

    def reset(self, key, params):
        return Pair().reset(key, params)[0]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (None, "expected an environment, see lopt.protocols.Environment (got NoneType, which lacks reset, step, num_a"),
        (Unsized(), "(got Unsized, which lacks num_actions (or action_size, where actions are real))"),
        ("CartPole-v1", "got str, which lacks reset, step"),
    ],
)
def test_objects_that_are_not_environments(env, message):
    with pytest.raises(ValueError, match="RLLifetime: .*" + re.escape(message)):
        check_environment("RLLifetime", env)


@pytest.mark.parametrize("valid", [rl_lifetime(), ppo()])
def test_lifetimes_check_their_environment(valid):
    # built without __init__, whose annotations the tests check first
    invalid = object.__new__(type(valid))
    for name, value in vars(valid).items():
        object.__setattr__(invalid, name, None if name == "env" else value)
    with pytest.raises(ValueError, match="expected an environment"):
        invalid.__post_init__()


def test_a_step_with_gymnax_results():
    message = r"step must return \(TimeStep, state\) \(got a tuple of TabularObs, PairState, .*envs.gymnax.gymnax_env"
    level, policy = pair.level(), lambda obs: jnp.zeros(2)
    env_batch = reset(KEY, Pair(), level.params, 3)
    with pytest.raises(ValueError, match=message):
        rollout(KEY, Gymnax(), level.params, policy, env_batch, 4)
    with pytest.raises(ValueError, match=message):
        episode_returns(KEY, Gymnax(), level.params, policy, 3, 4)


def test_a_reset_without_a_state():
    with pytest.raises(ValueError, match=r"reset must return \(obs, state\) \(got TabularObs"):
        reset(KEY, ObservationOnly(), pair.level().params, 3)


@pytest.mark.parametrize("lifetime", [rl_lifetime(), ppo(), supervised.LIFETIMES["supervised, by AdamW"]()])
def test_a_lifetime_of_zero_updates(lifetime):
    level = pair.level(num_updates=0)
    with pytest.raises(ValueError, match=r"num_updates must be at least 1 \(got 0\)"):
        lifetime.init(KEY, (), level)


def test_a_set_of_levels_with_a_lifetime_of_zero_updates():
    with pytest.raises(ValueError, match=r"num_updates must be at least 1 \(got 0\)"):
        FrozenSet(pair.levels(3, 0, 5))
    assert FrozenSet(pair.levels(3, 1, 5)).levels.num_updates.shape == (3,)


def test_variations_with_lifetimes_of_zero_updates():
    with pytest.raises(ValueError, match="num_updates must be at least 1 .got 0"):
        Variations(supervised.classification(), 0)
