"""gymnax's environments: dynamics and ends of episodes against references, dtypes, and names."""

import functools
from dataclasses import replace

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import Fixed, Ranges
from envs.gymnax import CAVEATS, UNAVAILABLE, ContinuousGymnax, Gymnax, Registered, gymnax_env, gymnax_names
from tests.envs.keys import make_keys
from tests.reference.ulps import assert_ulps


@functools.cache
def compiled(env):
    """`(reset, step, default level)`."""
    return jax.jit(env.reset), jax.jit(env.step), env(jax.random.key(0)).params


def episode(env, policy, seed=0, **changes):
    """The first observation and the steps of one episode; `policy` maps an observation to an action."""
    reset, step, level = compiled(env)
    level = level.replace(**changes)
    keys = make_keys(seed, env.max_steps + 1)
    obs, state = reset(keys[0], level)
    first, steps = obs, []
    for key in keys[1:]:
        timestep, state = step(key, state, jnp.asarray(policy(np.asarray(obs))), level)
        steps.append(timestep)
        obs = timestep.obs
        if timestep.last:
            return np.asarray(first), jax.tree.map(lambda *x: np.stack(x), *steps)
    raise AssertionError("an episode went past the step limit")


def cartpole(x, x_dot, theta, theta_dot, push):
    """Barto, Sutton and Anderson's cart and pole 0.02 s later (explicit Euler), with gym's constants."""
    force, gravity, pole, half, total = 10.0 if push else -10.0, 9.8, 0.1, 0.5, 1.1
    temp = (force + pole * half * theta_dot**2 * np.sin(theta)) / total
    theta_acc = (gravity * np.sin(theta) - np.cos(theta) * temp) / (half * (4 / 3 - pole * np.cos(theta) ** 2 / total))
    x_acc = temp - pole * half * theta_acc * np.cos(theta) / total
    return x + 0.02 * x_dot, x_dot + 0.02 * x_acc, theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc


@pytest.mark.parametrize("balance", [True, False])
def test_cartpole_against_numpy(balance):
    """A policy that balances reaches the limit; one that always pushes to the right terminates."""

    def right(obs):
        return not balance or obs[2] + obs[3] > 0

    env = gymnax_env("CartPole-v1", max_steps=120)
    first, steps = episode(env, lambda obs: int(right(obs)))
    for before, after, discount in zip((first, *steps.final_obs), steps.final_obs, steps.discount, strict=False):
        expected = cartpole(*np.float64(before), push=right(before))
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)
        assert (discount == 0) == (abs(after[0]) > 2.4 or abs(after[2]) > np.deg2rad(12))
    assert (len(steps.reward) == 120) == balance and steps.truncated[-1] == balance
    assert (steps.discount[-1] == 1) == balance and not steps.truncated[:-1].any()
    np.testing.assert_array_equal(steps.reward, 1)
    assert np.abs(steps.obs[-1]).max() <= 0.05, "a new initial state"
    assert np.abs(steps.final_obs[-1]).max() > 0.05


def test_breakout_ends_at_the_bottom_or_at_the_limit():
    """The ball starts in row 3 and falls one row per step: row 9 after six steps, where an idle paddle misses it."""
    env = gymnax_env("Breakout-MinAtar")
    first, steps = episode(env, lambda obs: 0)
    ball = np.stack([obs[..., 1] for obs in (first, *steps.final_obs)])
    assert (ball.sum((1, 2)) == 1).all() and first.shape == (10, 10, 4)
    np.testing.assert_array_equal(ball.any(2)[:7].argmax(1), np.arange(3, 10))
    assert steps.discount[-1] == 0 and not steps.truncated.any()
    assert ball[-1, 9].any() and steps.obs[-1, 3, :, 1].any(), "obs is that of the reset"

    first, cut = episode(env, lambda obs: 0, max_steps_in_episode=jnp.int32(4))
    assert len(cut.reward) == 4 and cut.truncated[-1] and (cut.discount == 1).all()
    np.testing.assert_array_equal(cut.final_obs, steps.final_obs[:4])
    assert cut.final_obs[-1, 7, :, 1].any() and cut.obs[-1, 3, :, 1].any()


@pytest.mark.parametrize("sign", [1, -1])
def test_catch(sign):
    """The ball falls nine rows; the paddle below it gives reward 1, elsewhere -1."""
    env = gymnax_env("Catch-bsuite")

    def policy(obs):
        top = obs[:9, :, 0]
        ball = top.any(0).argmax() if top.any() else 0
        return int(np.sign(ball - obs[9, :, 0].argmax())) + 1 if sign == 1 else (2 if ball < 2 else 0)

    for seed in range(4):
        first, steps = episode(env, policy, seed)
        assert first.shape == (10, 5, 1) and first[0].sum() == first[9].sum() == 1
        np.testing.assert_array_equal(steps.reward, [0] * 8 + [sign])
        assert steps.discount[-1] == 0 and steps.final_obs[-1, :9].sum() == 0


def test_termination_at_the_limit_is_no_truncation():
    """DeepSea reaches its last row at its time limit; gymnax reports both."""
    env = gymnax_env("DeepSea-bsuite")
    _, steps = episode(env, lambda obs: 0)
    assert env.max_steps == len(steps.reward) == 8
    assert steps.discount[-1] == 0 and not steps.truncated.any()


@pytest.mark.parametrize("name", ["CartPole-v1", "Breakout-MinAtar", "Pendulum-v1"])
def test_steps_equal_those_of_gymnax(name):
    """The same keys and actions give the results of `gymnax.step`, its final observation included."""
    env = gymnax_env(name, max_steps=120 if name == "CartPole-v1" else None)
    raw, _ = gymnax.make(name)
    reset, step, level = compiled(env)
    level = level.replace(max_steps_in_episode=jnp.int32(8))
    keys = make_keys(0, 21)
    obs, state = reset(keys[0], level)
    gymnax_obs, gymnax_state = raw.reset(keys[0], level)
    assert_ulps(obs, gymnax_obs, ulps=4, scale=1.0)
    action, gymnax_action = (jnp.int32(1),) * 2 if isinstance(env, Gymnax) else (jnp.full(1, 0.25), jnp.full(1, 0.5))
    for key in keys[1:]:
        timestep, state = step(key, state, action, level)
        gymnax_obs, gymnax_state, reward, terminated, truncated, info = raw.step(
            key, gymnax_state, gymnax_action, level
        )
        # eight steps from an initial state, ten roundings each, of numbers of size one
        found, expected = (timestep.obs, timestep.final_obs), (gymnax_obs, info["final_observation"])
        assert_ulps(found, expected, ulps=80, scale=1.0)
        np.testing.assert_allclose(timestep.reward, reward, rtol=1e-5)
        assert (timestep.discount == 0, timestep.truncated) == (terminated, truncated & ~terminated)


@pytest.mark.parametrize("name", gymnax_names())
def test_every_offline_environment_returns_float32_without_weak_types(name):
    env = gymnax_env(name)
    level = env(jax.random.key(0)).params
    action = jnp.int32(0) if isinstance(env, Gymnax) else jnp.zeros(env.action_size)
    obs, state = jax.eval_shape(env.reset, jax.random.key(0), level)
    timestep, after = jax.eval_shape(env.step, jax.random.key(0), state, action, level)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    for seen in (obs, timestep.obs, timestep.final_obs):
        assert (seen.shape, seen.dtype) == (env.obs_shape, jnp.float32)
    assert (timestep.reward.shape, timestep.reward.dtype) == ((), jnp.float32)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((level, obs, state, timestep, after)))
    assert env.max_steps == gymnax.make(name)[1].max_steps_in_episode


def test_a_batch_of_levels():
    """A vmap over gravities equals a loop over them, and is traced once."""
    env, traces = gymnax_env("CartPole-v1", max_steps=6), []
    levels = jax.vmap(lambda g: env.default_params.replace(gravity=g))(jnp.linspace(1.0, 20.0, 5))
    keys = make_keys(3, 10)

    def unroll(level):
        traces.append(1)
        _, state = env.reset(keys[0], level)
        return jax.lax.scan(lambda state, key: env.step(key, state, jnp.int32(1), level)[::-1], state, keys[1:])[1]

    batched, alone = jax.jit(jax.vmap(unroll))(levels), jax.jit(unroll)
    assert len(traces) == 1
    rows = [alone(jax.tree.map(lambda x, i=i: x[i], levels)) for i in range(5)]
    assert len(traces) == 2
    chex.assert_trees_all_close(batched, jax.tree.map(lambda *x: jnp.stack(x), *rows), rtol=1e-5)
    assert len(np.unique(batched.final_obs[:, 4, 3])) == 5


def test_actions_are_clipped_and_scaled():
    """A pendulum's torque is `max_torque` at 1 and beyond, and minus 0.001 torque^2 is in the reward."""
    env = gymnax_env("Pendulum-v1")
    reset, step, level = compiled(env)
    assert isinstance(env, ContinuousGymnax) and env.action_size == 1
    _, state = reset(jax.random.key(0), level)
    stronger = level.replace(max_torque=jnp.float32(3))
    cases = ((0.5, level, 1), (-1, level, -2), (7, level, 2), (7, stronger, 3), (-0.5, stronger, -1.5))
    for action, params, torque in cases:
        timestep, after = step(jax.random.key(1), state, jnp.full(1, action, jnp.float32), params)
        assert after.inner.last_u == torque
        theta, speed = state.inner.theta, state.inner.theta_dot
        np.testing.assert_allclose(timestep.reward, -(theta**2 + 0.1 * speed**2 + 0.001 * torque**2), rtol=1e-5)


def test_the_limit_is_the_smaller_of_the_level_s_and_the_environment_s():
    env = gymnax_env("Pendulum-v1", max_steps=3)
    reset, step, level = compiled(env)
    assert level.max_steps_in_episode == env.max_steps == 3
    for limit, expected in ((2, 2), (1000, 3)):
        params = level.replace(max_steps_in_episode=jnp.int32(limit))
        _, state = reset(jax.random.key(0), params)
        cut = []
        for key in make_keys(0, 6):
            timestep, state = step(key, state, jnp.zeros(1), params)
            cut.append(bool(timestep.truncated))
        assert cut == [(t + 1) % expected == 0 for t in range(6)]


def test_caveats():
    """The entries of `CAVEATS` for the bandit, the memory chain and the discounting chain hold."""
    bandit = gymnax_env("SimpleBandit-bsuite")
    step = jax.jit(jax.vmap(bandit.step, (0, 0, None, None)))
    _, state = jax.vmap(bandit.reset, (0, None))(make_keys(0, 2000), bandit.default_params)
    timestep, state = step(make_keys(1, 2000), state, jnp.int32(3), bandit.default_params)
    later, _ = step(make_keys(2, 2000), state, jnp.int32(3), bandit.default_params)
    assert (timestep.discount == 0).all() and abs(later.reward.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(timestep.reward, later.reward)[0, 1]) < 0.1, "another arm is the best one"
    first, steps = episode(gymnax_env("MemoryChain-bsuite"), lambda obs: 0)
    np.testing.assert_array_equal(first, steps.final_obs[0])
    _, steps = episode(gymnax_env("DiscountingChain-bsuite"), lambda obs: 0)
    assert steps.truncated[-1] and steps.discount[-1] == 1 and len(steps.reward) == 100


def test_building_inside_a_trace():
    """The cached environment holds concrete arrays even if it was built in a trace."""

    @jax.jit
    def corner():
        env = gymnax_env("MetaMaze-misc", maze_size=5)
        return env.reset(jax.random.key(0), env.default_params)[0]

    np.testing.assert_array_equal(corner(), corner())
    env = gymnax_env("MetaMaze-misc", maze_size=5)
    np.testing.assert_array_equal(env.reset(jax.random.key(0), env.default_params)[0], corner())


def test_ranges():
    env = replace(gymnax_env("CartPole-v1"), num_updates=Fixed(7))
    dist = Ranges(env, (("gravity", 5.0, 15.0), ("max_steps_in_episode", 3, 5)))
    levels = jax.jit(jax.vmap(dist))(make_keys(0, 600))
    gravity, limit = np.asarray(levels.params.gravity), np.asarray(levels.params.max_steps_in_episode)
    assert gravity.min() >= 5 and gravity.max() < 15 and abs(gravity.mean() - 10) < 0.5
    assert limit.dtype == np.int32 and (np.bincount(limit)[3:] > 150).all() and set(limit) == {3, 4, 5}
    assert abs(np.corrcoef(gravity, limit)[0, 1]) < 0.1
    np.testing.assert_array_equal(levels.params.masscart, 1)
    np.testing.assert_array_equal(levels.num_updates, 7)
    for ranges, match in (
        ((), "empty"),
        ((("gravty", 1, 2),), "did you mean gravity"),
        ((("gravity", 2, 1),), "low <= high"),
        ((("max_steps_in_episode", 1, 501),), "1 ... 500"),
    ):
        with pytest.raises(ValueError, match=match):
            Ranges(env, ranges)
    with pytest.raises(ValueError, match="single number"):
        Ranges(gymnax_env("DeepSea-bsuite"), (("deterministic", 0, 1),))


def test_names():
    listed = set(gymnax.registered_envs)
    assert set(gymnax_names()) | set(UNAVAILABLE) == listed and len(gymnax_names()) == 25
    assert set(CAVEATS) <= set(gymnax_names())
    assert gymnax_env("Breakout-MinAtar") == gymnax_env("Breakout-MinAtar")
    assert gymnax_env("Breakout-MinAtar", use_minimal_action_set=False).num_actions == 6
    assert gymnax_env("FourRooms-misc", goal_fixed=[1, 1]).obs_shape == (4,)
    for name, match in (
        ("cartpole", "mean CartPole-v1"),
        ("Brakout-MinAtr", "mean Breakout"),
        ("?", "Acrobot"),
    ):
        with pytest.raises(ValueError, match=match):
            gymnax_env(name)
    with pytest.raises(ValueError, match="hashable"):
        gymnax_env("DeepSea-bsuite", action_mapping_key=jax.random.key(0))
    for name, reason in UNAVAILABLE.items():
        with pytest.raises(ValueError, match=reason):
            gymnax_env(name)


def test_errors():
    with pytest.raises(ValueError, match="max_steps"):
        gymnax_env("CartPole-v1", max_steps=0)
    with pytest.raises(ValueError, match="use ContinuousGymnax"):
        Gymnax(factory=Registered("Pendulum-v1"), max_steps=10)
    with pytest.raises(ValueError, match="use Gymnax"):
        ContinuousGymnax(factory=Registered("CartPole-v1"), max_steps=10)
