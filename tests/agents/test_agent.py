"""An agent's update compared with the gradient of its loss in the parameters."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lopt import policies
from lopt.agents import Agent, TrainableNet
from lopt.nets import Tabular
from tests.reference.trajectories import trajectory

STATES, A, M = 4, 3, 2
MODULE = partial(TrainableNet, net=partial(Tabular, STATES), optimizer=optax.sgd(0.5))
AGENT = Agent(MODULE(features=A), MODULE(features=M))
TRAJ = trajectory(num_states=STATES, num_actions=A)
OBS = jax.tree.map(lambda x: x[0, 0], TRAJ.obs)


def loss(out):
    value = (policies.log_prob(out.policy, TRAJ.action) * TRAJ.reward).mean() + (jnp.sin(out.prediction) ** 2).mean()
    return value, {"logits": out.policy.sum()}


def test_update_descends_the_loss_in_both_modules():
    @jax.jit
    def update_and_expected(key):
        state = AGENT.init(key, OBS)
        updated, value, metrics = AGENT.update(state, TRAJ.obs, loss, jnp.array(True))

        def direct(params):
            modules = [m.replace(params=p) for m, p in zip((state.policy, state.prediction), params, strict=True)]
            return loss(AGENT.outputs(state.replace(policy=modules[0], prediction=modules[1]), TRAJ.obs))[0]

        params = state.policy.params, state.prediction.params
        expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(direct)(params))
        return (updated.policy.params, updated.prediction.params), expected, value, direct(params), metrics

    updated, expected, value, direct, metrics = update_and_expected(jax.random.key(0))
    chex.assert_trees_all_close(updated, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(value, direct, rtol=1e-6)
    assert set(metrics) == {"logits"}


def test_an_agent_without_predictions():
    agent = Agent(MODULE(features=A), None)

    @jax.jit
    def run(key):
        state = agent.init(key, OBS)
        updated, _, _ = agent.update(state, TRAJ.obs, loss, jnp.array(True))
        return state, updated, agent.outputs(state, TRAJ.obs), agent.act(state, OBS)

    state, updated, out, logits = run(jax.random.key(0))
    assert state.prediction == updated.prediction == ()
    chex.assert_shape(out.prediction, (*TRAJ.action.shape, 0))
    chex.assert_shape(out.policy, (*TRAJ.action.shape, A))
    np.testing.assert_allclose(logits, out.policy[0, 0], rtol=1e-6)
    assert (np.asarray(updated.policy.params["rows"]) != np.asarray(state.policy.params["rows"])).any()
