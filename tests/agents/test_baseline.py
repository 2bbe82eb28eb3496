"""The value baseline: its gradient, its training, and its frozen variant."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.agents import TrainableNet, TrainableTable, ValueBaseline
from lopt.nets import Tabular
from tests.reference import naive
from tests.reference.trajectories import trajectory

STATES = 4
TRAJ = trajectory(num_states=STATES)
OBS = jax.tree.map(lambda x: x[0, 0], TRAJ.obs)
ACTIVE = jnp.array(True)


def network_baseline(optimizer, gamma=0.9):
    return ValueBaseline(
        critic=TrainableNet(net=partial(Tabular, STATES), optimizer=optimizer, features=1), gamma=gamma, lam=0.8
    )


def test_advantages_and_the_gradient_of_the_squared_error():
    baseline = network_baseline(optax.sgd(0.5))

    @jax.jit
    def run(key):
        state = baseline.init(key, OBS)
        updated, estimates = baseline.update(state, TRAJ, ACTIVE)

        def error(params):
            value = jax.vmap(jax.vmap(lambda o: baseline.critic.apply(params, o)))(TRAJ.obs)[..., 0]
            target = jax.lax.stop_gradient(estimates.advantage + estimates.value)
            return ((value - target) ** 2).mean()

        expected = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, jax.grad(error)(state.params))
        return state, updated, expected, estimates

    state, updated, expected, estimates = run(jax.random.key(0))
    chex.assert_trees_all_close(updated.params, expected, rtol=1e-5, atol=1e-7)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (updated.params, state.params)), strict=True))
    rows, time = np.asarray(state.params["rows"])[:, 0], float(state.params["time"][0])
    value, value_next = (rows[o.index] + time * np.asarray(o.time) for o in (TRAJ.obs, TRAJ.next_obs))
    np.testing.assert_allclose(estimates.value, value, rtol=1e-5, atol=1e-6)
    arrays = jax.tree.map(np.asarray, (TRAJ.reward, TRAJ.discount, TRAJ.truncated))
    advantage = naive.gae(*arrays, value, value_next, 0.9, 0.8)
    np.testing.assert_allclose(estimates.advantage, advantage, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(estimates.loss, (advantage**2).mean(), rtol=1e-4)


def test_it_is_trained_unless_its_optimizer_is_zero():
    losses = {}
    for name, optimizer in {"trained": optax.sgd(0.3), "frozen": optax.set_to_zero()}.items():
        baseline = network_baseline(optimizer, gamma=0.3)

        @jax.jit
        def run(key, baseline=baseline):
            def step(state, _):
                state, estimates = baseline.update(state, TRAJ, ACTIVE)
                return state, estimates.loss

            first = baseline.init(key, OBS)
            return first, *jax.lax.scan(step, first, length=200)

        first, last, losses[name] = run(jax.random.key(0))
        if name == "frozen":
            chex.assert_trees_all_equal(last, first)
    trained, frozen = losses["trained"], losses["frozen"]
    assert (frozen == frozen[0]).all()
    # the remaining loss is the part of the targets that a table of four states cannot represent
    assert trained[-1] < 0.8 * trained[0]
    np.testing.assert_allclose(trained[-1], trained[-20], rtol=1e-2)


def test_no_gradient_flows_through_its_parameters():
    baseline = ValueBaseline(critic=TrainableTable(num_states=STATES, learning_rate=0.5, max_norm=1.0, features=1))

    @jax.jit
    def gradient(key):
        def outputs(params):
            updated, estimates = baseline.update(state.replace(params=params), TRAJ, ACTIVE)
            return estimates.advantage.sum() + sum(x.sum() for x in jax.tree.leaves(updated))

        state = baseline.init(key, OBS)
        return jax.grad(outputs)(state.params)

    for grads in jax.tree.leaves(gradient(jax.random.key(0))):
        np.testing.assert_array_equal(grads, np.zeros(grads.shape))


def test_bad_values():
    critic = TrainableTable(num_states=STATES, learning_rate=0.5, max_norm=1.0, features=1)
    with pytest.raises(ValueError, match="one output"):
        ValueBaseline(critic=TrainableTable(num_states=STATES, learning_rate=0.5, max_norm=1.0, features=2))
    with pytest.raises(ValueError, match="gamma"):
        ValueBaseline(critic=critic, gamma=1.5)
    with pytest.raises(ValueError, match="lam"):
        ValueBaseline(critic=critic, lam=-0.5)
