"""Heads: a table against the network it stands for, and networks against optax by hand."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.agents import HeadState, NetHead, TableHead
from lopt.agents.heads import apply_many
from lopt.nets import MLP, Tabular
from lopt.types import TabularObs

STATES, F, T, B, UPDATES = 3, 2, 4, 3, 3
RATE = 0.7
ALIVE = jnp.array(True)


def table(max_norm):
    return TableHead(STATES, RATE, max_norm, F)


def network(max_norm):
    optimizer = optax.chain(optax.clip_by_global_norm(max_norm), optax.sgd(RATE))
    return NetHead(partial(Tabular, STATES), optimizer, F)


def batches(dtype=np.float64):
    """Observations `[UPDATES, T, B]`; four times as many as there are states, so that all are visited repeatedly."""
    rng = np.random.default_rng(0)
    index = rng.integers(STATES - 1, size=(UPDATES, T, B))
    return TabularObs(jnp.array(index), jnp.array(rng.random((UPDATES, T, B)), dtype))


def several_updates(head, weights, params, obs):
    """Updates whose gradients depend on `weights` and on the outputs, as a learned rule's do."""
    state = HeadState(params=params, opt_state=head.optimizer.init(params) if isinstance(head, NetHead) else ())

    def update(state, obs):
        out = apply_many(head, state.params, obs)
        grads = jnp.tanh(weights) * jnp.cos(2 * out + weights)
        moved = head.update(state, obs, grads, ALIVE)
        squares = jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), moved.params, state.params)
        return moved, jax.lax.stop_gradient(squares["rows"] + squares["time"])

    state, squares = jax.lax.scan(update, state, obs)
    probe = jnp.arange(1.0, 1.0 + STATES * F).reshape(STATES, F)
    return (probe * jnp.sin(state.params["rows"])).sum() + state.params["time"].sum() ** 2, (state.params, squares)


@pytest.mark.parametrize(("max_norm", "clips"), [(0.5, UPDATES), (0.82, 2)])
def test_a_table_is_the_network_it_stands_for(max_norm, clips):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        obs = batches()
        weights = jnp.array(rng.normal(0, 0.4, size=(T, B, F)))
        params = {"rows": jnp.array(rng.normal(size=(STATES, F))), "time": jnp.array(rng.normal(size=F))}

        def meta(head):
            return jax.jit(jax.value_and_grad(partial(several_updates, head), (0, 1), has_aux=True))(
                weights, params, obs
            )

        (value, (moved, squares)), grads = meta(table(max_norm))
        expected, expected_grads = meta(network(max_norm))
    chex.assert_trees_all_close((value, moved), (expected[0], expected[1][0]), rtol=1e-12)
    chex.assert_trees_all_close(grads, expected_grads, rtol=1e-9, atol=1e-12)
    assert all((np.asarray(g) != 0).all() for g in jax.tree.leaves(grads))
    assert np.isclose(squares, (RATE * max_norm) ** 2).sum() == clips
    # the state that was never visited moves by nothing
    np.testing.assert_array_equal(moved["rows"][STATES - 1], params["rows"][STATES - 1])


@jax.jit
def one_update(state, obs, grads, alive):
    """With its own gradient in the gradients."""
    head = table(1.0)
    _, pull = jax.vjp(lambda g: head.update(state, obs, g, alive).params, grads)
    moved = head.update(state, obs, grads, alive)
    return moved, pull(jax.tree.map(jnp.ones_like, moved.params))[0]


def test_clipping_bounds_the_whole_step():
    rng = np.random.default_rng(2)
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    params = {"rows": jnp.zeros((STATES, F)), "time": jnp.zeros(F)}
    state = HeadState(params=params, opt_state=())
    grads = jnp.array(rng.normal(size=(T, B, F)), jnp.float32)
    for scale, expected in ((100.0, RATE), (0.001, None)):
        moved, _ = one_update(state, obs, scale * grads, ALIVE)
        norm = np.sqrt(sum((np.asarray(x) ** 2).sum() for x in moved.params.values()))
        raw = np.zeros((STATES + 1, F))
        np.add.at(raw, np.asarray(obs.index), scale * grads)
        raw[STATES] = np.einsum("tb,tbf->f", obs.time, scale * grads)
        np.testing.assert_allclose(norm, expected or RATE * np.sqrt((raw**2).sum()), rtol=1e-5)
        step = np.concatenate([moved.params["rows"], moved.params["time"][None]])
        np.testing.assert_allclose(step, -raw * norm / np.sqrt((raw**2).sum()), rtol=1e-4, atol=1e-8)


def test_no_gradient_no_move_and_a_finite_derivative():
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    params = {"rows": jnp.ones((STATES, F)), "time": jnp.ones(F)}
    moved, back = one_update(HeadState(params=params, opt_state=()), obs, jnp.zeros((T, B, F)), ALIVE)
    chex.assert_trees_all_equal(moved.params, params)
    assert np.isfinite(back).all() and (np.asarray(back) < 0).all()


def decaying(features=F):
    return NetHead(partial(MLP, (4,)), optax.lion(0.1, weight_decay=0.5), features)


def test_the_dead_stand_still():
    rng = np.random.default_rng(3)
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    grads = jnp.array(rng.normal(size=(T, B, F)), jnp.float32)
    for head in (table(1.0), decaying()):
        state = jax.jit(head.init)(jax.random.key(0), TabularObs(jnp.int32(0), jnp.float32(0)))
        update = jax.jit(head.update)
        chex.assert_trees_all_equal(update(state, obs, grads, ~ALIVE), state)
        moved = update(state, obs, grads, ALIVE)
        chex.assert_trees_all_equal_shapes_and_dtypes(moved, state)
        assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved.params, state.params)), strict=True))


def test_parameters_reach_the_optimizer():
    head = decaying()
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    grads = jnp.array(np.random.default_rng(4).normal(size=(T, B, F)), jnp.float32)
    state = jax.jit(head.init)(jax.random.key(0), TabularObs(jnp.int32(0), jnp.float32(0)))
    moved = jax.jit(head.update)(state, obs, grads, ALIVE)

    @jax.jit
    def by_hand(params):
        def linear(params):
            apply = jax.vmap(jax.vmap(lambda o: MLP((4,), F).apply({"params": params}, o)))
            return (apply(obs) * grads).sum()

        g = jax.grad(linear)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * (jnp.sign(g) + 0.5 * p), params, g)

    chex.assert_trees_all_close(moved.params, by_hand(state.params), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), optax.adafactor(0.1)],
    ids=["adam", "clipped adam", "adafactor"],
)
def test_a_meta_gradient_goes_through_units_that_were_never_active(optimizer):
    """The second moments of their weights are zero, where a square root has no finite derivative."""
    head = NetHead(partial(MLP, (4,)), optimizer, F)
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    grads = jnp.array(np.random.default_rng(5).normal(size=(T, B, F)), jnp.float32)
    state = jax.jit(head.init)(jax.random.key(0), TabularObs(jnp.int32(0), jnp.float32(0)))
    dead = jax.tree.map(lambda x: x.at[..., :2].set(-1.0) if x.shape[-1] == 4 else x, state.params)
    state = state.replace(params=dead)

    @jax.jit
    @jax.grad
    def gradient(scale):
        moved = state
        for _ in range(3):
            moved = head.update(moved, obs, scale * grads, ALIVE)
        return optax.tree.norm(moved.params)

    assert np.isfinite(gradient(jnp.float32(1.0)))
    # the same where nothing has a gradient at all
    assert np.isfinite(gradient(jnp.float32(0.0)))


def test_a_network_of_no_outputs():
    with pytest.raises(ValueError, match=r"NetHead: features must be at least 1 \(got 0\)"):
        NetHead(partial(MLP, (4,)), optax.sgd(0.1), 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_states", 0), ("learning_rate", 0.0), ("learning_rate", np.nan), ("max_norm", np.nan), ("features", 0)],
)
def test_bad_values(name, value):
    good = {"num_states": 2, "learning_rate": 0.1, "max_norm": 1.0, "features": 1}
    with pytest.raises(ValueError, match=f"TableHead: {name}"):
        TableHead(**(good | {name: value}))
