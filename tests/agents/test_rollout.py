"""Playing against a Python loop."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from lopt import policies
from lopt.agents import Players, reset, rollout
from tests.reference.pair import Pair, level
from tests.reference.ulps import assert_ulps

ENV, T, B = Pair(), 12, 3
LOGITS = jnp.array([[0.3, -0.5], [1.0, 0.2]])


def policy(obs):
    return LOGITS[obs.index] + obs.time


@jax.jit
def play(key_reset, key, params):
    players = reset(key_reset, ENV, params, B)
    return players, *rollout(key, ENV, params, policy, players, T)


@jax.jit
def one_step(key, players, params):
    key_act, key_step = jax.random.split(key)
    logits = jnp.stack([policy(jax.tree.map(lambda x, b=b: x[b], players.obs)) for b in range(B)])
    action = policies.sample(key_act, logits)
    step = jax.vmap(ENV.step, (0, 0, 0, None))
    return action, *step(jax.random.split(key_step, B), players.env_state, action, params)


def test_rollout_equals_a_loop_and_hangs_together():
    params = level(p_end=0.3, limit=4).params
    key = jax.random.key(1)
    players, after, traj = play(jax.random.key(0), key, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(players, after)
    chex.assert_tree_shape_prefix(traj, (T, B))
    rows = []
    for step_key in jax.random.split(key, T):
        action, timestep, state = one_step(step_key, players, params)
        rows.append((players.obs, action, timestep.reward, timestep.discount, timestep.truncated, timestep.final_obs))
        players = Players(timestep.obs, state)
    assert_ulps(players, after, ulps=1)  # the time that is seen is a product
    expected = jax.tree.map(lambda *xs: np.stack(xs), *rows)
    found = (traj.obs, traj.action, traj.reward, traj.discount, traj.truncated, traj.next_obs)
    assert_ulps(found, expected, ulps=1)
    last, terminated = np.asarray(traj.last), np.asarray(traj.discount == 0)
    assert terminated.any() and np.asarray(traj.truncated).any()
    np.testing.assert_array_equal(last, terminated | traj.truncated)
    # within an episode what follows is seen next; an end shows where the action led, not where the next one starts
    np.testing.assert_array_equal(traj.next_obs.index, traj.action)
    goes_on = ~last[:-1]
    np.testing.assert_array_equal(traj.obs.index[1:][goes_on], traj.next_obs.index[:-1][goes_on])
    assert (np.asarray(traj.obs.time)[1:][last[:-1]] == 0).all()
    assert (np.asarray(traj.next_obs.time)[last] > 0).all()


def test_players_differ():
    players, _, traj = play(jax.random.key(0), jax.random.key(1), level(p_end=0.0, limit=100).params)
    actions = np.asarray(traj.action).T
    assert len({tuple(row) for row in actions.tolist()}) == B
    assert not any(x.weak_type for x in jax.tree.leaves(players))
