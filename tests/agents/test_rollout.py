"""Rollouts compared with a Python loop."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from lopt import policies
from lopt.agents import EnvBatch, reset, rollout
from tests.reference.pair import Pair, level
from tests.reference.ulps import assert_ulps

ENV, T, B = Pair(), 12, 3
LOGITS = jnp.array([[0.3, -0.5], [1.0, 0.2]])


def policy(obs):
    return LOGITS[obs.index] + obs.time


@jax.jit
def reset_and_rollout(key_reset, key, params):
    env_batch = reset(key_reset, ENV, params, B)
    return env_batch, *rollout(key, ENV, params, policy, env_batch, T)


@jax.jit
def one_step(key, env_batch, params):
    key_act, key_step = jax.random.split(key)
    logits = jnp.stack([policy(jax.tree.map(lambda x, b=b: x[b], env_batch.obs)) for b in range(B)])
    action = policies.sample(key_act, logits)
    step = jax.vmap(ENV.step, (0, 0, 0, None))
    return action, *step(jax.random.split(key_step, B), env_batch.env_state, action, params)


def test_rollout_equals_a_loop_and_is_consistent():
    params = level(p_end=0.3, limit=4).params
    key = jax.random.key(1)
    env_batch, after, traj = reset_and_rollout(jax.random.key(0), key, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(env_batch, after)
    chex.assert_tree_shape_prefix(traj, (T, B))
    rows = []
    for step_key in jax.random.split(key, T):
        action, timestep, state = one_step(step_key, env_batch, params)
        rows.append((env_batch.obs, action, timestep.reward, timestep.discount, timestep.truncated, timestep.final_obs))
        env_batch = EnvBatch(timestep.obs, state)
    assert_ulps(env_batch, after, ulps=1)  # the observed time is a product
    expected = jax.tree.map(lambda *xs: np.stack(xs), *rows)
    actual = (traj.obs, traj.action, traj.reward, traj.discount, traj.truncated, traj.next_obs)
    assert_ulps(actual, expected, ulps=1)
    last, terminated = np.asarray(traj.last), np.asarray(traj.discount == 0)
    assert terminated.any() and np.asarray(traj.truncated).any()
    np.testing.assert_array_equal(last, terminated | traj.truncated)
    # within an episode next_obs is the next obs; at its end it is the observation before the reset
    np.testing.assert_array_equal(traj.next_obs.index, traj.action)
    continues = ~last[:-1]
    np.testing.assert_array_equal(traj.obs.index[1:][continues], traj.next_obs.index[:-1][continues])
    assert (np.asarray(traj.obs.time)[1:][last[:-1]] == 0).all()
    assert (np.asarray(traj.next_obs.time)[last] > 0).all()


def test_parallel_environments_differ():
    env_batch, _, traj = reset_and_rollout(jax.random.key(0), jax.random.key(1), level(p_end=0.0, limit=100).params)
    actions = np.asarray(traj.action).T
    assert len({tuple(row) for row in actions.tolist()}) == B
    assert not any(x.weak_type for x in jax.tree.leaves(env_batch))
