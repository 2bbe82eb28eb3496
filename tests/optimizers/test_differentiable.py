"""Derivatives of optimizer steps: unchanged where they are finite, zero where they are not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.optimizers import FromOptax, differentiable

PARAMS = {"a": jnp.array([0.5, -1.0, 2.0]), "b": jnp.ones((2, 3))}
# a large eps, because with a small one Adam's steps hardly depend on the scale of the gradient
OPTIMIZERS = {
    "adam": optax.adam(0.1, eps=0.3),
    "adam, clipped": optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1, eps=0.3)),
    "adamw": optax.adamw(0.1, eps=0.3),
    "lamb": optax.lamb(0.1, eps=0.3),
    "novograd": optax.novograd(0.1, eps=0.3),
    "adafactor": optax.adafactor(0.1, min_dim_size_to_factor=2),
    "rmsprop": optax.rmsprop(0.1),
    "sgd": optax.sgd(0.1, momentum=0.9),
}
for_optimizers = pytest.mark.parametrize("name", OPTIMIZERS)


def gradients(zeros):
    """Gradients of three steps; with `zeros` those of some parameters are always zero."""
    rng = np.random.default_rng(0)
    drawn = [jax.tree.map(lambda x: jnp.array(rng.normal(size=x.shape), jnp.float32), PARAMS) for _ in range(3)]
    return [g | {"a": g["a"].at[1].set(0.0), "b": jnp.zeros_like(g["b"])} for g in drawn] if zeros else drawn


def steps(optimizer, scale, zeros):
    """The parameters after three steps along gradients times `scale`."""
    params, state = PARAMS, optimizer.init(PARAMS)
    for g in gradients(zeros):
        updates, state = optimizer.update(jax.tree.map(lambda x: scale * x, g), state, params)
        params = optax.apply_updates(params, updates)
    return params


def slope(optimizer, scale, zeros=False):
    """The derivative of a weighted sum of the final parameters in `scale`."""

    def total(scale):
        leaves = jax.tree.leaves(steps(optimizer, scale, zeros))
        return sum((jnp.arange(1.0, x.size + 1) * x.ravel()).sum() for x in leaves)

    return float(jax.jit(jax.grad(total))(jnp.float32(scale)))


@for_optimizers
def test_the_steps_equal_those_of_the_optimizer(name):
    optimizer = OPTIMIZERS[name]
    one, other = (jax.jit(lambda s, o=o: steps(o, s, True))(0.3) for o in (optimizer, differentiable(optimizer)))
    # two programs: a few roundings of numbers of order one
    chex.assert_trees_all_close(one, other, rtol=1e-6, atol=1e-6)


@for_optimizers
def test_finite_derivatives_are_unchanged(name):
    optimizer = OPTIMIZERS[name]
    with jax.enable_x64(True):
        expected = slope(optimizer, 0.3)
        assert np.isfinite(expected)
        np.testing.assert_allclose(slope(differentiable(optimizer), 0.3), expected, rtol=1e-4, atol=1e-6)


@for_optimizers
def test_nonfinite_derivatives_are_zero_and_the_others_unchanged(name):
    """Parameters whose gradients are always zero do not move: the slope is that of the others alone."""
    optimizer = differentiable(OPTIMIZERS[name])
    found = slope(optimizer, 0.3, zeros=True)
    ahead, behind = (np.float64(weighted_sum(OPTIMIZERS[name], 0.3 + d)) for d in (1e-2, -1e-2))
    np.testing.assert_allclose(found, (ahead - behind) / 2e-2, rtol=2e-2, atol=2e-3)
    assert np.isfinite(slope(optimizer, 0.0))


def weighted_sum(optimizer, scale):
    leaves = jax.tree.leaves(steps(optimizer, jnp.float32(scale), True))
    return sum((np.arange(1.0, x.size + 1) * np.asarray(x, np.float64).ravel()).sum() for x in leaves)


def test_adam_without_the_wrapper_has_nan_derivatives():
    assert np.isnan(slope(optax.adam(0.1), 0.3, zeros=True))


def test_with_constant_roots_a_first_step_is_linear_in_the_gradient():
    """Adam's first step is g / (|g| + eps); with a constant denominator its derivative along g is the step itself."""
    g = {"a": jnp.array([0.3, -2.0, 0.0])}
    optimizer = differentiable(optax.adam(0.1, eps=1e-3), constant_roots=True)

    def step(scale):
        return optimizer.update(jax.tree.map(lambda x: scale * x, g), optimizer.init(g), g)[0]["a"]

    value, tangent = jax.jvp(step, (jnp.float32(1.0),), (jnp.float32(1.0),))
    np.testing.assert_allclose(tangent, value, rtol=1e-5)
    np.testing.assert_allclose(value, -0.1 * np.sign(g["a"]) * [0.3 / 0.301, 2 / 2.001, 0], rtol=1e-5, atol=1e-8)


def test_optax_optimizers_are_differentiable_in_their_hyperparameters():
    family = FromOptax(lambda theta: optax.adamw(**theta), (("learning_rate", 0.1),))

    def total(theta):
        return optax.tree.sum(steps(family.as_optax(theta), 1.0, True))

    assert np.isfinite(jax.jit(jax.grad(total))(family.init(jax.random.key(0)))["learning_rate"])


def test_branches_and_keyword_arguments_are_supported():
    """`optax.apply_if_finite` has branches; `reduce_on_plateau` takes the keyword argument `value`."""
    guarded = differentiable(optax.apply_if_finite(optax.adam(0.1), 2))
    bad = {"a": jnp.array([jnp.nan, 0.0, 0.0])}
    good = {"a": jnp.array([1.0, 0.0, 0.0])}
    state = guarded.init(good)
    np.testing.assert_array_equal(jax.jit(guarded.update)(bad, state, good)[0]["a"], np.zeros(3))
    updates = jax.jit(guarded.update)(good, state, good)[0]["a"]
    np.testing.assert_allclose(updates, [-0.1, 0, 0], rtol=1e-5, atol=1e-9)
    plateau = differentiable(optax.contrib.reduce_on_plateau(factor=0.5, patience=1))
    scaled, _ = jax.jit(plateau.update)(good, plateau.init(good), good, value=jnp.float32(1.0))
    np.testing.assert_array_equal(scaled["a"], good["a"])
