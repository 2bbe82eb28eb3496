"""The value baseline: its gradient, what it learns, and how it is frozen."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.agents import NetHead, TableHead, ValueBaseline
from lopt.nets import Tabular
from tests.reference import naive
from tests.reference.trajectories import trajectory

STATES = 4
TRAJ = trajectory(num_states=STATES)
OBS = jax.tree.map(lambda x: x[0, 0], TRAJ.obs)
ALIVE = jnp.array(True)


def network(optimizer, gamma=0.9):
    return ValueBaseline(NetHead(partial(Tabular, STATES), optimizer, 1), gamma=gamma, lam=0.8)


def test_advantages_and_the_gradient_of_the_squared_error():
    baseline = network(optax.sgd(0.5))

    @jax.jit
    def go(key):
        state = baseline.init(key, OBS)
        moved, valuation = baseline.update(state, TRAJ, ALIVE)

        def error(params):
            value = jax.vmap(jax.vmap(lambda o: baseline.head.apply(params, o)))(TRAJ.obs)[..., 0]
            target = jax.lax.stop_gradient(valuation.advantage + valuation.value)
            return ((value - target) ** 2).mean()

        expected = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, jax.grad(error)(state.params))
        return state, moved, expected, valuation

    state, moved, expected, valuation = go(jax.random.key(0))
    chex.assert_trees_all_close(moved.params, expected, rtol=1e-5, atol=1e-7)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved.params, state.params)), strict=True))
    rows, time = np.asarray(state.params["rows"])[:, 0], float(state.params["time"][0])
    value, value_next = (rows[o.index] + time * np.asarray(o.time) for o in (TRAJ.obs, TRAJ.next_obs))
    np.testing.assert_allclose(valuation.value, value, rtol=1e-5, atol=1e-6)
    arrays = jax.tree.map(np.asarray, (TRAJ.reward, TRAJ.discount, TRAJ.truncated))
    advantage = naive.gae(*arrays, value, value_next, 0.9, 0.8)
    np.testing.assert_allclose(valuation.advantage, advantage, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(valuation.loss, (advantage**2).mean(), rtol=1e-4)


def test_it_learns_unless_it_is_frozen():
    losses = {}
    for name, optimizer in {"learns": optax.sgd(0.3), "frozen": optax.set_to_zero()}.items():
        baseline = network(optimizer, gamma=0.3)

        @jax.jit
        def go(key, baseline=baseline):
            def step(state, _):
                state, valuation = baseline.update(state, TRAJ, ALIVE)
                return state, valuation.loss

            first = baseline.init(key, OBS)
            return first, *jax.lax.scan(step, first, length=200)

        first, last, losses[name] = go(jax.random.key(0))
        if name == "frozen":
            chex.assert_trees_all_equal(last, first)
    learns, frozen = losses["learns"], losses["frozen"]
    assert (frozen == frozen[0]).all()
    # what remains is the part of the targets that a table of four states cannot express
    assert learns[-1] < 0.8 * learns[0]
    np.testing.assert_allclose(learns[-1], learns[-20], rtol=1e-2)


def test_nothing_is_differentiated_through_it():
    baseline = ValueBaseline(TableHead(STATES, 0.5, 1.0, 1))

    @jax.jit
    def go(key):
        def through(params):
            moved, valuation = baseline.update(state.replace(params=params), TRAJ, ALIVE)
            return valuation.advantage.sum() + sum(x.sum() for x in jax.tree.leaves(moved))

        state = baseline.init(key, OBS)
        return jax.grad(through)(state.params)

    for grads in jax.tree.leaves(go(jax.random.key(0))):
        np.testing.assert_array_equal(grads, np.zeros(grads.shape))


def test_bad_values():
    head = TableHead(STATES, 0.5, 1.0, 1)
    with pytest.raises(ValueError, match="one output"):
        ValueBaseline(TableHead(STATES, 0.5, 1.0, 2))
    with pytest.raises(ValueError, match="gamma"):
        ValueBaseline(head, gamma=1.5)
    with pytest.raises(ValueError, match="lam"):
        ValueBaseline(head, lam=-0.5)
