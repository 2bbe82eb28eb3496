"""Brax tasks: episodes, resets and truncation on a task with Brax's interface, and on Brax itself if installed."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import Ranges
from envs.brax import BRAX_TASKS, Brax, brax_env
from lopt.protocols import ContinuousEnvironment, Environment
from tests.envs.falling import Falling
from tests.envs.keys import make_keys

FALLING = Brax(factory=Falling, max_steps=9)


@functools.cache
def compiled(env):
    return jax.jit(env.reset), jax.jit(env.step)


def rollout(env, actions, params=None, seed=0):
    """The first observation and the stacked time steps `[T, ...]` of a sequence of actions."""
    reset, step = compiled(env)
    params = env.default_params if params is None else params
    keys = make_keys(seed, 1 + len(actions))
    first, state = reset(keys[0], params)
    steps = []
    for key, action in zip(keys[1:], actions, strict=True):
        timestep, state = step(key, state, jnp.asarray(action, jnp.float32), params)
        steps.append(timestep)
    return np.asarray(first), jax.tree.map(lambda *x: np.stack(x), *steps)


def fall(obs, action, gravity=-10.0):
    """One step of `Falling` in numpy: `(obs, reward)`."""
    up, side = np.clip(action, -1, 1)
    speed = obs[1] + 0.1 * (gravity + 4 * up)
    height = obs[0] + 0.1 * speed
    return np.array([height, speed]), height - side**2


def test_an_episode_against_numpy():
    """The episode ends at the floor: termination, the terminal state in `final_obs`, a new height in `obs`."""
    actions = np.random.default_rng(0).uniform(-2, 2, size=(8, 2))
    first, steps = rollout(FALLING, actions)
    before, ends = first, 0
    for t in range(8):
        after, reward = fall(before, actions[t])
        np.testing.assert_allclose(steps.final_obs[t], after, rtol=1e-5)
        np.testing.assert_allclose(steps.reward[t], reward, rtol=1e-4, atol=1e-5)
        assert (steps.discount[t] == 0) == (after[0] < 0) and not steps.truncated[t]
        before, ends = steps.obs[t], ends + (after[0] < 0)
        if steps.discount[t] == 0:
            assert 1 <= before[0] < 2 and before[1] == 0 and before[0] != first[0], "a new random initial state"
        else:
            np.testing.assert_array_equal(before, steps.final_obs[t])
    assert ends == 1


def test_truncation_at_the_step_limit():
    weightless = FALLING.default_params.replace(gravity=jnp.float32(0))
    first, steps = rollout(FALLING, np.zeros((20, 2)), weightless)
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [8, 17])
    np.testing.assert_array_equal(steps.discount, 1)
    np.testing.assert_array_equal(steps.final_obs[:9], np.tile(first, (9, 1)))
    assert len(np.unique(steps.final_obs[:, 0])) == 3
    _, steps = rollout(FALLING, np.zeros((6, 2)), weightless.replace(max_steps=jnp.int32(2)))
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [1, 3, 5])
    _, steps = rollout(FALLING, np.zeros((10, 2)), weightless.replace(max_steps=jnp.int32(100)))
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [8])


def test_gravity_belongs_to_the_level():
    for gravity in (0.5, 2.0):
        level = FALLING.default_params.replace(gravity=jnp.float32(gravity))
        first, steps = rollout(FALLING, np.zeros((2, 2)), level)
        np.testing.assert_allclose(steps.final_obs[0], fall(first, (0, 0), -10 * gravity)[0], rtol=1e-5)


def test_action_repeat():
    """Three physics steps per action; rewards and state stop where the episode terminates in between."""
    env = Brax(factory=Falling, max_steps=9, action_repeat=3)
    first, steps = rollout(env, np.zeros((3, 2)))
    for t, before in enumerate((first, *steps.obs[:2])):
        total = 0.0
        for _ in range(3):
            before, reward = fall(before, (0, 0))
            total += reward
            if before[0] < 0:
                break
        np.testing.assert_allclose(steps.final_obs[t], before, rtol=1e-5)
        np.testing.assert_allclose(steps.reward[t], total, rtol=1e-4)
        assert (steps.discount[t] == 0) == (before[0] < 0)
    assert (steps.discount == 0).any()


def test_the_input_state_is_not_modified():
    _, state = FALLING.reset(jax.random.key(0), FALLING.default_params)
    metrics = dict(state.inner.metrics)
    FALLING.step(jax.random.key(1), state, jnp.zeros(2), FALLING.default_params)
    assert state.inner.metrics == metrics


class Wrapper:
    """Forwards every attribute, as Brax's wrappers do."""

    def __init__(self):
        self.env = Falling()

    def __getattr__(self, name):
        return getattr(self.env, name)


def test_protocol_and_errors():
    assert isinstance(FALLING, ContinuousEnvironment) and not isinstance(FALLING, Environment)
    assert hash(FALLING) == hash(Brax(factory=Falling, max_steps=9)) and FALLING.environment == Brax(
        factory=Falling, max_steps=9
    )
    assert (FALLING.action_size, FALLING.obs_shape, FALLING.max_steps) == (2, (2,), 9)
    assert Brax(factory=Falling, options=(("floor", 0.5),)) != Brax(factory=Falling)
    for wrong in ({"max_steps": 0}, {"action_repeat": 0}):
        with pytest.raises(ValueError, match="must be >= 1"):
            Brax(factory=Falling, **wrong)
    with pytest.raises(ValueError, match="not a wrapper"):
        Brax(factory=Wrapper).reset(jax.random.key(0), FALLING.default_params)
    with pytest.raises(ValueError, match="gravity"):
        Ranges(FALLING, (("mass", 0.5, 2.0),))
    with pytest.raises(ValueError, match="must be in 1 ... 9"):
        Ranges(FALLING, (("max_steps", 5, 10),))


def test_names(monkeypatch):
    with pytest.raises(ValueError, match="mean walker2d"):
        brax_env("walker")
    with pytest.raises(ValueError, match="backend 'sprng'; did you mean spring"):
        brax_env("ant", backend="sprng")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "lopt\[brax\]"'):
        brax_env("ant")


def test_the_task_list_is_that_of_brax():
    envs = pytest.importorskip("brax.envs")
    assert {*BRAX_TASKS, "fast"} == set(envs._envs)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "features"), [("reacher", 2, 11), ("hopper", 3, 11), ("ant", 8, 27)])
def test_a_brax_task(name, size, features):
    """The same steps as the raw environment; truncation at the limit; an effect of gravity."""
    envs = pytest.importorskip("brax.envs")
    env, raw = brax_env(name, max_steps=3), envs.get_environment(name, backend="spring")
    assert (env.action_size, env.obs_shape) == (size, (features,))
    actions = np.random.default_rng(1).uniform(-1, 1, size=(4, size)).astype(np.float32)
    first, steps = rollout(env, actions)
    with jax.numpy_rank_promotion("allow"):
        state = jax.jit(raw.reset)(make_keys(0, 5)[0])
        np.testing.assert_allclose(first, state.obs, rtol=1e-5, atol=1e-5)
        step = jax.jit(raw.step)
        for t in range(3):
            state = step(state, actions[t])
            np.testing.assert_allclose(steps.final_obs[t], state.obs, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(steps.reward[t], state.reward, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(steps.truncated, [False, False, True, False])
    np.testing.assert_array_equal(steps.discount, 1)
    assert not np.allclose(steps.obs[2], steps.final_obs[2])
    heavy = rollout(env, actions, env.default_params.replace(gravity=jnp.float32(3)))[1]
    assert not np.allclose(heavy.final_obs[:3], steps.final_obs[:3], atol=1e-3)
