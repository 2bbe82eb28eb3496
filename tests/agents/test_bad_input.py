"""What is no environment, or no lifetime, is refused in words."""

import re

import jax
import jax.numpy as jnp
import pytest

from lopt.agents import episode_returns, reset, rollout
from lopt.agents.rollout import check_environment
from lopt.curriculum import FrozenSet
from lopt.tasks import Variations
from tests.reference import pair, supervised
from tests.reference.lives import life, ppo
from tests.reference.pair import Pair

KEY = jax.random.key(0)


class Gymnax(Pair):
    """An environment whose step returns what gymnax's does."""

    def step(self, key, state, action, params):
        timestep, state = super().step(key, state, action, params)
        return timestep.obs, state, timestep.reward, timestep.discount == 0, {}


class Unsized:
    """An environment that does not say how many actions it has."""

    def reset(self, key, params):
        return Pair().reset(key, params)

    def step(self, key, state, action, params):
        return Pair().step(key, state, action, params)


class Bare(Pair):
    """A reset that returns the observation alone."""

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
def test_no_environment(env, message):
    with pytest.raises(ValueError, match="RLLifetime: .*" + re.escape(message)):
        check_environment("RLLifetime", env)


@pytest.mark.parametrize("good", [life(), ppo()])
def test_lifetimes_look_at_their_environment(good):
    # the annotations, which these tests execute, would refuse it first
    bad = object.__new__(type(good))
    for name, value in vars(good).items():
        object.__setattr__(bad, name, None if name == "env" else value)
    with pytest.raises(ValueError, match="expected an environment"):
        bad.__post_init__()


def test_a_step_of_another_contract():
    message = r"step must return \(TimeStep, state\) \(got a tuple of TabularObs, PairState, .*envs.gymnax.gymnax_env"
    level, policy = pair.level(), lambda obs: jnp.zeros(2)
    players = reset(KEY, Pair(), level.params, 3)
    with pytest.raises(ValueError, match=message):
        rollout(KEY, Gymnax(), level.params, policy, players, 4)
    with pytest.raises(ValueError, match=message):
        episode_returns(KEY, Gymnax(), level.params, policy, 3, 4)


def test_a_reset_of_another_contract():
    with pytest.raises(ValueError, match=r"reset must return \(obs, state\) \(got TabularObs"):
        reset(KEY, Bare(), pair.level().params, 3)


@pytest.mark.parametrize("lifetime", [life(), ppo(), supervised.LIVES["supervised, by AdamW"]()])
def test_a_life_of_no_updates(lifetime):
    level = pair.level(lifetime=0)
    with pytest.raises(ValueError, match=r"a lifetime must be at least 1 update \(got 0\)"):
        lifetime.init(KEY, (), level)


def test_a_set_with_a_life_of_no_updates():
    with pytest.raises(ValueError, match=r"a lifetime must be at least 1 update \(got 0\)"):
        FrozenSet(pair.levels(3, 0, 5))
    assert FrozenSet(pair.levels(3, 1, 5)).levels.lifetime.shape == (3,)


@pytest.mark.parametrize(("lifetime", "shortest"), [(0, None), (5, 0), (5, 6), (0, 0)])
def test_variations_of_no_updates(lifetime, shortest):
    with pytest.raises(ValueError, match="expected 1 <= shortest <= lifetime"):
        Variations(supervised.classification(), lifetime, shortest)
