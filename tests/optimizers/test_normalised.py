"""The normalised rule: equality with Adam and with numpy, invariance to scale, tensors of all kinds."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.optimizers import NormalisedRule
from tests.reference.lifetimes import random_theta

KEY = jax.random.key(0)
RULE = NormalisedRule(hidden=(3, 2))
SHAPES = {"kernel": (3, 3, 2, 4), "w": (5, 3), "b": (4,), "s": ()}


def draw(seed):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}


@functools.cache
def directions(initial=False):
    """A jitted function from gradients `[steps, ...]` and parameters to the last direction and the state."""
    theta = RULE.init(KEY) if initial else random_theta(RULE)
    return jax.jit(functools.partial(after, RULE.direction(theta)))


def after(tx, gradients, params):
    state, updates = tx.init(params), None
    for g in gradients:
        updates, state = tx.update(g, state, params)
    return updates, state


def unit(x):
    rms = np.sqrt(np.mean(np.square(x)))
    return x / rms if rms > 0 else x


def test_the_initial_rule_is_adam_with_normalised_steps():
    """Against `optax.scale_by_adam`: its eps is zero; the rule's is 1e-6 of the mean second moment."""
    params, gradients = draw(0), [draw(seed) for seed in range(1, 9)]
    got, _ = directions(initial=True)(gradients, params)
    adam, _ = jax.jit(functools.partial(after, optax.scale_by_adam(b1=0.9, b2=0.95, eps=0.0)))(gradients, params)
    chex.assert_trees_all_close(got, jax.tree.map(unit, adam), rtol=2e-4, atol=2e-6)


def test_the_optimizer_makes_steps_of_its_learning_rate_against_the_direction():
    rule = NormalisedRule(hidden=RULE.hidden, learning_rate=0.02)
    params, gradients = draw(0), [draw(1), draw(2)]
    steps, _ = jax.jit(functools.partial(after, rule.as_optax(random_theta(RULE))))(gradients, params)
    direction, _ = directions()(gradients, params)
    chex.assert_trees_all_close(steps, jax.tree.map(lambda d: -0.02 * d, direction), rtol=1e-5)
    for step in jax.tree.leaves(steps):
        np.testing.assert_allclose(np.sqrt(np.mean(np.square(step))), 0.02, rtol=1e-5)


def reference(theta, gradients, params):
    """The direction of one tensor in float64, by a matrix of all inputs `[n, 12]`."""
    first, second = {1: ((), (0,)), 0: ((), ())}.get(params.ndim, ((), ()))
    if params.ndim > 1:
        *_, second, first = ((axis,) for axis in np.argsort(params.shape, kind="stable"))
    m = n = v = np.zeros(params.shape)
    rows, columns = (
        np.zeros_like(m.mean(axes, keepdims=True)) if axes else np.zeros_like(m) for axes in (first, second)
    )
    for g in gradients:
        m, n, v = 0.9 * m + 0.1 * g, 0.99 * n + 0.01 * g, 0.95 * v + 0.05 * g * g
        rows = 0.99 * rows + 0.01 * ((g * g).mean(first, keepdims=True) if first else g * g)
        columns = 0.99 * columns + 0.01 * ((g * g).mean(second, keepdims=True) if second else g * g)
    root = 1 / np.sqrt(v + 1e-6 * v.mean())
    f = 1 / np.sqrt((rows / rows.mean() + 1e-6) * (columns / rows.mean() + 1e-6))
    compressed = unit(g) / np.sqrt(np.abs(unit(g)) + 1e-6)
    inputs = [m * root, n * root, g * root, g, params, m, n, g * f, m * f, n * f, np.sign(m), compressed]
    x = features = np.stack([unit(y).ravel() for y in inputs], -1)
    *hidden, last = (theta["net"][f"layers_{i}"] for i in range(3))
    for layer in hidden:
        x = np.maximum(x @ np.float64(layer["kernel"]) + layer["bias"], 0)
    out = (x @ np.float64(last["kernel"]) + last["bias"])[:, 0] + features[:, [0, 8, 10]] @ np.float64(theta["nominal"])
    return unit(out).reshape(params.shape)


def test_the_direction_equals_that_of_a_matrix_of_all_inputs():
    params, gradients = draw(0), [draw(seed) for seed in range(1, 4)]
    got, _ = directions()(gradients, params)
    theta = random_theta(RULE)
    for name, p in params.items():
        expected = reference(theta, [np.float64(g[name]) for g in gradients], np.float64(p))
        np.testing.assert_allclose(got[name], expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 100.0])
def test_gradients_of_another_scale_give_the_same_direction(scale):
    params, gradients = draw(0), [draw(1), draw(2)]
    expected, _ = directions()(gradients, params)
    got, _ = directions()(jax.tree.map(lambda g: jnp.float32(scale) * g, gradients), params)
    chex.assert_trees_all_close(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [1e-15, 1e-9, 1e9, 1e15])
def test_extreme_gradients_give_finite_steps_of_the_same_size(size):
    updates, state = directions()([jax.tree.map(lambda g: jnp.float32(size) * g, draw(1))], draw(0))
    chex.assert_tree_all_finite((updates, state))
    for x in jax.tree.leaves(updates):
        np.testing.assert_allclose(np.sqrt(np.mean(np.square(x))), 1.0, rtol=1e-3)


def test_parameters_whose_gradients_have_all_been_zero_do_not_move():
    gradient = draw(1) | {"b": jnp.zeros(4)}
    gradient["w"] = gradient["w"].at[2].set(0.0)
    updates, state = directions()([gradient, gradient], draw(0))
    chex.assert_tree_all_finite((updates, state))
    assert not np.asarray(updates["b"]).any() and not np.asarray(updates["w"])[2].any()
    assert np.asarray(updates["w"])[[0, 1, 3, 4]].all()


def test_bfloat16_parameters_have_a_state_in_float32():
    params, gradients = (
        [jax.tree.map(lambda x: x.astype(jnp.bfloat16), draw(seed)) for seed in s] for s in ([0], [1, 2])
    )
    updates, state = directions()(gradients, params[0])
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(updates))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(state))
    wide, _ = directions()(*jax.tree.map(lambda x: x.astype(jnp.float32), (gradients, params[0])))
    chex.assert_trees_all_close(jax.tree.map(lambda x: x.astype(jnp.float32), updates), wide, rtol=0.01, atol=0.01)


def test_no_array_of_all_inputs_is_made():
    """Temporary memory of a compiled step, in bytes per parameter: 12 inputs would take 48."""
    params = {"w": jnp.zeros((512, 384))}
    tx = RULE.direction(random_theta(RULE))
    step = jax.jit(tx.update).lower(params, tx.init(params), params).compile()
    assert step.memory_analysis().temp_size_in_bytes / params["w"].size <= 40


@pytest.mark.slow
def test_the_derivative_in_theta_is_finite_where_gradients_are_zero():
    gradients = [draw(1) | {"b": jnp.zeros(4)}, draw(2) | {"b": jnp.zeros(4)}]

    def loss(theta, scale):
        updates, _ = after(RULE.direction(theta), jax.tree.map(lambda g: scale * g, gradients), draw(0))
        return sum(jnp.sum(x**3) for x in jax.tree.leaves(updates))

    slopes = jax.jit(jax.grad(loss, (0, 1)))(random_theta(RULE), 1.0)
    chex.assert_tree_all_finite(slopes)
    assert any(np.asarray(x).any() for x in jax.tree.leaves(slopes[0]))


def test_bad_input():
    with pytest.raises(ValueError, match="NormalisedRule: widths must be at least 1"):
        NormalisedRule(hidden=(0,))
    with pytest.raises(ValueError, match="NormalisedRule: learning_rate must be finite and above 0"):
        NormalisedRule(learning_rate=0.0)
