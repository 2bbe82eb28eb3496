"""An agent's update against differentiating its loss in the parameters directly."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lopt import policies
from lopt.agents import Agent, NetHead
from lopt.nets import Tabular
from tests.reference.trajectories import trajectory

STATES, A, M = 4, 3, 2
HEAD = partial(NetHead, partial(Tabular, STATES), optax.sgd(0.5))
AGENT = Agent(HEAD(A), HEAD(M))
TRAJ = trajectory(num_states=STATES, num_actions=A)
OBS = jax.tree.map(lambda x: x[0, 0], TRAJ.obs)


def loss(out):
    value = (policies.log_prob(out.policy, TRAJ.action) * TRAJ.reward).mean() + (jnp.sin(out.prediction) ** 2).mean()
    return value, {"told": out.policy.sum()}


def test_update_descends_the_loss_of_both_heads():
    @jax.jit
    def both(key):
        state = AGENT.init(key, OBS)
        moved, value, told = AGENT.update(state, TRAJ.obs, loss, jnp.array(True))

        def direct(params):
            heads = [h.replace(params=p) for h, p in zip((state.policy, state.prediction), params, strict=True)]
            return loss(AGENT.outputs(state.replace(policy=heads[0], prediction=heads[1]), TRAJ.obs))[0]

        params = state.policy.params, state.prediction.params
        expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(direct)(params))
        return (moved.policy.params, moved.prediction.params), expected, value, direct(params), told

    moved, expected, value, direct, told = both(jax.random.key(0))
    chex.assert_trees_all_close(moved, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(value, direct, rtol=1e-6)
    assert set(told) == {"told"}


def test_an_agent_without_predictions_says_nothing():
    agent = Agent(HEAD(A), None)

    @jax.jit
    def go(key):
        state = agent.init(key, OBS)
        moved, _, _ = agent.update(state, TRAJ.obs, loss, jnp.array(True))
        return state, moved, agent.outputs(state, TRAJ.obs), agent.act(state, OBS)

    state, moved, out, logits = go(jax.random.key(0))
    assert state.prediction == moved.prediction == ()
    chex.assert_shape(out.prediction, (*TRAJ.action.shape, 0))
    chex.assert_shape(out.policy, (*TRAJ.action.shape, A))
    np.testing.assert_allclose(logits, out.policy[0, 0], rtol=1e-6)
    assert (np.asarray(moved.policy.params["rows"]) != np.asarray(state.policy.params["rows"])).any()
