"""Brax tasks: the laws of our episodes on a task with Brax's interface, and Brax itself where it is installed."""

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

FALLING = Brax(Falling, max_steps=9)


@functools.cache
def player(env):
    return jax.jit(env.reset), jax.jit(env.step)


def play(env, actions, params=None, seed=0):
    """The first observation, and the steps stacked, of actions played one after the other."""
    reset, step = player(env)
    params = env.default_params if params is None else params
    keys = make_keys(seed, 1 + len(actions))
    first, state = reset(keys[0], params)
    steps = []
    for key, action in zip(keys[1:], actions, strict=True):
        timestep, state = step(key, state, jnp.asarray(action, jnp.float32), params)
        steps.append(timestep)
    return np.asarray(first), jax.tree.map(lambda *x: np.stack(x), *steps)


def fall(obs, action, gravity=-10.0):
    """`Falling` in numpy."""
    up, side = np.clip(action, -1, 1)
    speed = obs[1] + 0.1 * (gravity + 4 * up)
    height = obs[0] + 0.1 * speed
    return np.array([height, speed]), height - side**2


def test_an_episode_against_numpy():
    """Down to the floor: termination, the fall in `final_obs`, a new height in `obs`."""
    actions = np.random.default_rng(0).uniform(-2, 2, size=(8, 2))
    first, steps = play(FALLING, actions)
    before, ends = first, 0
    for t in range(8):
        after, reward = fall(before, actions[t])
        np.testing.assert_allclose(steps.final_obs[t], after, rtol=1e-5)
        np.testing.assert_allclose(steps.reward[t], reward, rtol=1e-4, atol=1e-5)
        assert (steps.discount[t] == 0) == (after[0] < 0) and not steps.truncated[t]
        before, ends = steps.obs[t], ends + (after[0] < 0)
        if steps.discount[t] == 0:
            assert 1 <= before[0] < 2 and before[1] == 0 and before[0] != first[0], "a start of its own"
        else:
            np.testing.assert_array_equal(before, steps.final_obs[t])
    assert ends == 1


def test_the_limit_truncates():
    still = FALLING.default_params.replace(gravity=jnp.float32(0))
    first, steps = play(FALLING, np.zeros((20, 2)), still)
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [8, 17])
    np.testing.assert_array_equal(steps.discount, 1)
    np.testing.assert_array_equal(steps.final_obs[:9], np.tile(first, (9, 1)))
    assert len(np.unique(steps.final_obs[:, 0])) == 3
    _, steps = play(FALLING, np.zeros((6, 2)), still.replace(max_steps=jnp.int32(2)))
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [1, 3, 5])
    _, steps = play(FALLING, np.zeros((10, 2)), still.replace(max_steps=jnp.int32(100)))
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [8])


def test_gravity_is_the_level_s():
    for gravity in (0.5, 2.0):
        level = FALLING.default_params.replace(gravity=jnp.float32(gravity))
        first, steps = play(FALLING, np.zeros((2, 2)), level)
        np.testing.assert_allclose(steps.final_obs[0], fall(first, (0, 0), -10 * gravity)[0], rtol=1e-5)


def test_a_repeated_action():
    """Three physics steps an action; rewards stop, and the state stands still, where the episode ends in between."""
    env = Brax(Falling, max_steps=9, action_repeat=3)
    first, steps = play(env, np.zeros((3, 2)))
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


def test_a_state_is_not_written_into():
    _, state = FALLING.reset(jax.random.key(0), FALLING.default_params)
    metrics = dict(state.inner.metrics)
    FALLING.step(jax.random.key(1), state, jnp.zeros(2), FALLING.default_params)
    assert state.inner.metrics == metrics


class Wrapper:
    """Passes everything on, as Brax's wrappers do."""

    def __init__(self):
        self.env = Falling()

    def __getattr__(self, name):
        return getattr(self.env, name)


def test_protocol_and_errors():
    assert isinstance(FALLING, ContinuousEnvironment) and not isinstance(FALLING, Environment)
    assert hash(FALLING) == hash(Brax(Falling, max_steps=9)) and FALLING.environment == Brax(Falling, max_steps=9)
    assert (FALLING.action_size, FALLING.obs_shape, FALLING.max_steps) == (2, (2,), 9)
    assert Brax(Falling, (("floor", 0.5),)) != Brax(Falling)
    for wrong in ({"max_steps": 0}, {"action_repeat": 0}):
        with pytest.raises(ValueError, match="must be >= 1"):
            Brax(Falling, **wrong)
    with pytest.raises(ValueError, match="not a wrapper"):
        Brax(Wrapper).reset(jax.random.key(0), FALLING.default_params)
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


def test_the_tasks_are_brax_s():
    envs = pytest.importorskip("brax.envs")
    assert {*BRAX_TASKS, "fast"} == set(envs._envs)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "features"), [("reacher", 2, 11), ("hopper", 3, 11), ("ant", 8, 27)])
def test_a_brax_task(name, size, features):
    """Against the raw environment, driven by hand; the limit ends the episode, and gravity acts."""
    envs = pytest.importorskip("brax.envs")
    env, raw = brax_env(name, max_steps=3), envs.get_environment(name, backend="spring")
    assert (env.action_size, env.obs_shape) == (size, (features,))
    actions = np.random.default_rng(1).uniform(-1, 1, size=(4, size)).astype(np.float32)
    first, steps = play(env, actions)
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
    heavy = play(env, actions, env.default_params.replace(gravity=jnp.float32(3)))[1]
    assert not np.allclose(heavy.final_obs[:3], steps.final_obs[:3], atol=1e-3)
