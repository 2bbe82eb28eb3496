"""Trainable modules: a table compared with the equivalent network, and networks compared with explicit updates."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.agents import TrainableNet, TrainableState, TrainableTable
from lopt.agents.trainable import apply_many
from lopt.nets import MLP, Tabular
from lopt.types import TabularObs

STATES, F, T, B, UPDATES = 3, 2, 4, 3, 3
RATE = 0.7
ACTIVE = jnp.array(True)


def table(max_norm):
    return TrainableTable(num_states=STATES, learning_rate=RATE, max_norm=max_norm, features=F)


def network(max_norm):
    optimizer = optax.chain(optax.clip_by_global_norm(max_norm), optax.sgd(RATE))
    return TrainableNet(net=partial(Tabular, STATES), optimizer=optimizer, features=F)


def batches(dtype=np.float64):
    """Observations `[UPDATES, T, B]` in which every state but the last occurs several times."""
    rng = np.random.default_rng(0)
    index = rng.integers(STATES - 1, size=(UPDATES, T, B))
    return TabularObs(jnp.array(index), jnp.array(rng.random((UPDATES, T, B)), dtype))


def several_updates(module, weights, params, obs):
    """Updates whose gradients depend on `weights` and on the outputs, as those of a learned rule."""
    state = TrainableState(
        params=params, opt_state=module.optimizer.init(params) if isinstance(module, TrainableNet) else ()
    )

    def update(state, obs):
        out = apply_many(module, state.params, obs)
        grads = jnp.tanh(weights) * jnp.cos(2 * out + weights)
        updated = module.update(state, obs, grads, ACTIVE)
        squares = jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), updated.params, state.params)
        return updated, jax.lax.stop_gradient(squares["rows"] + squares["time"])

    state, squares = jax.lax.scan(update, state, obs)
    probe = jnp.arange(1.0, 1.0 + STATES * F).reshape(STATES, F)
    return (probe * jnp.sin(state.params["rows"])).sum() + state.params["time"].sum() ** 2, (state.params, squares)


@pytest.mark.parametrize(("max_norm", "clips"), [(0.5, UPDATES), (0.82, 2)])
def test_a_table_equals_the_equivalent_network(max_norm, clips):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        obs = batches()
        weights = jnp.array(rng.normal(0, 0.4, size=(T, B, F)))
        params = {"rows": jnp.array(rng.normal(size=(STATES, F))), "time": jnp.array(rng.normal(size=F))}

        def meta(module):
            return jax.jit(jax.value_and_grad(partial(several_updates, module), (0, 1), has_aux=True))(
                weights, params, obs
            )

        (value, (updated, squares)), grads = meta(table(max_norm))
        expected, expected_grads = meta(network(max_norm))
    chex.assert_trees_all_close((value, updated), (expected[0], expected[1][0]), rtol=1e-12)
    chex.assert_trees_all_close(grads, expected_grads, rtol=1e-9, atol=1e-12)
    assert all((np.asarray(g) != 0).all() for g in jax.tree.leaves(grads))
    assert np.isclose(squares, (RATE * max_norm) ** 2).sum() == clips
    # the row of the state that was never visited is unchanged
    np.testing.assert_array_equal(updated["rows"][STATES - 1], params["rows"][STATES - 1])


@jax.jit
def one_update(state, obs, grads, active):
    """The updated state, and the derivative of the sum of its parameters in `grads`."""
    module = table(1.0)
    _, vjp = jax.vjp(lambda g: module.update(state, obs, g, active).params, grads)
    updated = module.update(state, obs, grads, active)
    return updated, vjp(jax.tree.map(jnp.ones_like, updated.params))[0]


def test_clipping_bounds_the_whole_step():
    rng = np.random.default_rng(2)
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    params = {"rows": jnp.zeros((STATES, F)), "time": jnp.zeros(F)}
    state = TrainableState(params=params, opt_state=())
    grads = jnp.array(rng.normal(size=(T, B, F)), jnp.float32)
    for scale, expected in ((100.0, RATE), (0.001, None)):
        updated, _ = one_update(state, obs, scale * grads, ACTIVE)
        norm = np.sqrt(sum((np.asarray(x) ** 2).sum() for x in updated.params.values()))
        raw = np.zeros((STATES + 1, F))
        np.add.at(raw, np.asarray(obs.index), scale * grads)
        raw[STATES] = np.einsum("tb,tbf->f", obs.time, scale * grads)
        np.testing.assert_allclose(norm, expected or RATE * np.sqrt((raw**2).sum()), rtol=1e-5)
        step = np.concatenate([updated.params["rows"], updated.params["time"][None]])
        np.testing.assert_allclose(step, -raw * norm / np.sqrt((raw**2).sum()), rtol=1e-4, atol=1e-8)


def test_a_zero_gradient_changes_nothing_and_has_a_finite_derivative():
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    params = {"rows": jnp.ones((STATES, F)), "time": jnp.ones(F)}
    updated, derivative = one_update(TrainableState(params=params, opt_state=()), obs, jnp.zeros((T, B, F)), ACTIVE)
    chex.assert_trees_all_equal(updated.params, params)
    assert np.isfinite(derivative).all() and (np.asarray(derivative) < 0).all()


def lion_with_decay(features=F):
    return TrainableNet(net=partial(MLP, (4,)), optimizer=optax.lion(0.1, weight_decay=0.5), features=features)


def test_inactive_modules_are_unchanged():
    rng = np.random.default_rng(3)
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    grads = jnp.array(rng.normal(size=(T, B, F)), jnp.float32)
    for module in (table(1.0), lion_with_decay()):
        state = jax.jit(module.init)(jax.random.key(0), TabularObs(jnp.int32(0), jnp.float32(0)))
        update = jax.jit(module.update)
        chex.assert_trees_all_equal(update(state, obs, grads, ~ACTIVE), state)
        updated = update(state, obs, grads, ACTIVE)
        chex.assert_trees_all_equal_shapes_and_dtypes(updated, state)
        assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (updated.params, state.params)), strict=True))


def test_parameters_reach_the_optimizer():
    module = lion_with_decay()
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    grads = jnp.array(np.random.default_rng(4).normal(size=(T, B, F)), jnp.float32)
    state = jax.jit(module.init)(jax.random.key(0), TabularObs(jnp.int32(0), jnp.float32(0)))
    updated = jax.jit(module.update)(state, obs, grads, ACTIVE)

    @jax.jit
    def expected(params):
        def linear(params):
            apply = jax.vmap(jax.vmap(lambda o: MLP((4,), F).apply({"params": params}, o)))
            return (apply(obs) * grads).sum()

        g = jax.grad(linear)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * (jnp.sign(g) + 0.5 * p), params, g)

    chex.assert_trees_all_close(updated.params, expected(state.params), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), optax.adafactor(0.1)],
    ids=["adam", "clipped adam", "adafactor"],
)
def test_the_meta_gradient_is_finite_for_units_that_were_never_active(optimizer):
    """The second moments of their weights are zero, where the square root has no finite derivative."""
    module = TrainableNet(net=partial(MLP, (4,)), optimizer=optimizer, features=F)
    obs = jax.tree.map(lambda x: x[0], batches(np.float32))
    grads = jnp.array(np.random.default_rng(5).normal(size=(T, B, F)), jnp.float32)
    state = jax.jit(module.init)(jax.random.key(0), TabularObs(jnp.int32(0), jnp.float32(0)))
    dead = jax.tree.map(lambda x: x.at[..., :2].set(-1.0) if x.shape[-1] == 4 else x, state.params)
    state = state.replace(params=dead)

    @jax.jit
    @jax.grad
    def gradient(scale):
        updated = state
        for _ in range(3):
            updated = module.update(updated, obs, scale * grads, ACTIVE)
        return optax.tree.norm(updated.params)

    assert np.isfinite(gradient(jnp.float32(1.0)))
    # also if all gradients are zero
    assert np.isfinite(gradient(jnp.float32(0.0)))


def test_a_network_without_outputs():
    with pytest.raises(ValueError, match=r"TrainableNet: features must be at least 1 \(got 0\)"):
        TrainableNet(net=partial(MLP, (4,)), optimizer=optax.sgd(0.1), features=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_states", 0), ("learning_rate", 0.0), ("learning_rate", np.nan), ("max_norm", np.nan), ("features", 0)],
)
def test_bad_values(name, value):
    valid = {"num_states": 2, "learning_rate": 0.1, "max_norm": 1.0, "features": 1}
    with pytest.raises(ValueError, match=f"TrainableTable: {name}"):
        TrainableTable(**(valid | {name: value}))
