"""Kernels against numpy, and the specific properties of each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import optimizers as lo
from tests.reference.kernels import matrices

M = np.array([3.0, -1.0, 0.0, 0.5], np.float32)


def map_of_vector(kernel):
    return np.asarray(kernel.map({"m": jnp.asarray(M)})["m"])


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (lo.L1(), np.sign(M)),
        (lo.Huber(2.0), [1, -0.5, 0, 0.25]),
        (lo.SoftThreshold(0.7), [1, -1, 0, 0]),
        (lo.LogCosh(2.0), np.tanh(2 * M)),
        (lo.Relativistic(0.5), M / np.sqrt(M**2 + 0.25)),
        (lo.L2(), M / np.sqrt(10.25)),
        (lo.Lp(3.0), np.sign(M) * M**2 / (27 + 1 + 0.125) ** (2 / 3)),
        (lo.LInf(), [1, 0, 0, 0]),
        (lo.TopK(2), [1, -1, 0, 0]),
        (lo.Group(), M / np.sqrt(10.25)),
        (lo.Softmax(2.0), np.exp(M / 2) / np.exp(M / 2).sum()),
        (lo.HalfSquare(), M),
        (lo.HalfL1Square(), 4.5 * np.sign(M)),
    ],
    ids=str,
)
def test_maps(kernel, expected):
    np.testing.assert_allclose(map_of_vector(kernel), expected, rtol=1e-6)


def test_the_tree_is_one_vector_except_under_per_leaf():
    m = {"a": jnp.array([3.0]), "b": jnp.array([0.0, 4.0])}
    np.testing.assert_allclose(lo.L2().map(m)["b"], [0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(lo.PerLeaf(lo.L2()).map(m)["b"], [0, 1], rtol=1e-6)
    np.testing.assert_array_equal(lo.LInf().map(m)["a"], [0])
    np.testing.assert_allclose([lo.PerLeaf(lo.L2()).value(m), lo.L2().value(m)], [7, 5], rtol=1e-6)
    outside = {"a": jnp.array([1.0]), "b": jnp.array([0.0, 4.0])}
    np.testing.assert_allclose(lo.PerLeaf(lo.L2()).distance(outside), 3, rtol=1e-6)


def test_groups_are_rows_columns_or_whole_leaves():
    m = {"w": jnp.array([[3.0, 4.0], [0.0, 2.0]])}
    np.testing.assert_allclose(lo.Group(-1).map(m)["w"], [[0.6, 0.8], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(lo.Group(0).map(m)["w"][:, 0], [1, 0], rtol=1e-6)
    np.testing.assert_allclose(lo.Group(-1).value(m), 7, rtol=1e-6)
    np.testing.assert_allclose(lo.Group((0, 1)).value(m), np.sqrt(29), rtol=1e-6)


def test_tied_elements_share_the_remaining_weight():
    m = {"a": jnp.array([2.0, -1.0, 1.0]), "b": jnp.array(1.0)}
    np.testing.assert_allclose(lo.TopK(2).map(m)["a"], [1, -1 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(lo.TopK(2).map(m)["b"], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(lo.LInf().map({"a": jnp.array([1.0, -1.0, 0.5])})["a"], [0.5, -0.5, 0])
    np.testing.assert_array_equal(lo.TopK(9).map(m)["a"], [1, -1, 1])


def test_top_k_finds_the_largest_among_many_magnitudes():
    rng = np.random.default_rng(0)
    m = np.float32(rng.normal(size=999) * 10.0 ** rng.integers(-37, 37, 999))
    tree = {"a": jnp.asarray(m[:500].reshape(20, 25)), "b": jnp.asarray(m[500:])}
    for k in (1, 10, 700):
        mapped = lo.TopK(k).map(tree)
        chosen = np.flatnonzero(np.concatenate([np.ravel(mapped["a"]), mapped["b"]]))
        np.testing.assert_array_equal(chosen, np.sort(np.argsort(-np.abs(m))[:k]))


def test_polar_factor():
    m = matrices(0, dtype=np.float32)
    for x, y in zip(jax.tree.leaves(m), jax.tree.leaves(lo.Nuclear().map(m)), strict=True):
        u, _, vt = np.linalg.svd(x, full_matrices=False)
        np.testing.assert_allclose(y, u @ vt, atol=1e-6)
    rank_one = np.float32(np.outer([3.0, 4.0], [1.0, 0.0]))
    np.testing.assert_allclose(lo.polar(jnp.asarray(rank_one)), [[0.6, 0], [0.8, 0]], atol=1e-6)
    np.testing.assert_array_equal(lo.polar(jnp.zeros((2, 3))), np.zeros((2, 3)))


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
def test_the_derivative_of_the_polar_factor_equals_finite_differences(shape):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        # the identity's singular values coincide, where the derivative of the decomposition is not finite
        for x in (rng.normal(size=shape), np.eye(*shape)):
            dx = rng.normal(size=shape)
            _, slope = jax.jvp(lo.polar, (jnp.asarray(x),), (jnp.asarray(dx),))
            ahead, behind = (np.asarray(lo.polar(jnp.asarray(x + h * dx))) for h in (1e-6, -1e-6))
            np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, atol=1e-7)


def test_newton_schulz_brings_singular_values_near_one():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 20)), np.float32)
    singular_values = np.linalg.svd(lo.NewtonSchulz()(x), compute_uv=False)
    assert 0.6 < singular_values.min() and singular_values.max() < 1.2
    converged = jax.jit(lo.NewtonSchulz(steps=12, coefficients=(15 / 8, -5 / 4, 3 / 8)))
    np.testing.assert_allclose(converged(x), lo.polar(x), atol=1e-4)
    np.testing.assert_allclose(converged(jnp.swapaxes(x, 1, 2)), jnp.swapaxes(lo.polar(x), 1, 2), atol=1e-4)
    assert lo.NewtonSchulz()(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert not lo.NewtonSchulz()(jnp.zeros((2, 3))).any()


def test_newton_schulz_equals_that_of_optax_muon():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), np.float32)
    shape = {"w": optax.contrib.MuonDimensionNumbers()}
    muon = optax.contrib.scale_by_muon(beta=0.0, nesterov=False, weight_dimension_numbers=shape)
    updates, _ = muon.update({"w": x}, muon.init({"w": x}))
    ours = lo.Nuclear(lo.NewtonSchulz()).map({"w": x})
    np.testing.assert_allclose(ours["w"], updates["w"], atol=1e-5)


def test_a_dense_preconditioner():
    p = jnp.array([[2.0, 0.5], [0.5, 1.0]])
    kernel = lo.Quadratic(lambda m: {"x": p @ m["x"]}, lambda y: {"x": jnp.linalg.solve(p, y["x"])})
    m = {"x": jnp.array([1.0, -2.0])}
    np.testing.assert_allclose(kernel.map(m)["x"], [1, -1.5], rtol=1e-6)
    np.testing.assert_allclose(kernel.value(m), 2.0, rtol=1e-6)
    np.testing.assert_allclose(kernel.conjugate(kernel.map(m)), 2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lo.Huber(0.0), "delta must be finite and above 0 .got 0.0"),
        (lambda: lo.SoftThreshold(-1.0), "threshold must be finite and at least 0"),
        (lambda: lo.LogCosh(-1.0), "a must be"),
        (lambda: lo.Relativistic(0.0), "e must be"),
        (lambda: lo.Lp(1.0), "p must be finite and above 1"),
        (lambda: lo.Lp(float("inf")), "p must be finite"),
        (lambda: lo.TopK(0), "k must be finite and at least 1"),
        (lambda: lo.Softmax(0.0), "temperature"),
        (lambda: lo.NewtonSchulz(steps=0), "steps"),
        (lambda: lopt.lion_k(lo.Nuclear()).init({"b": jnp.ones(3)}), r"matrix .*got \['b'\] of shape \(3,\)"),
        (lambda: lo.Nuclear().value({"b": jnp.ones(3)}), "matrix"),
        (lambda: lopt.lion_k(lo.Group(1)).init({"b": jnp.ones(3)}), r"axis 1 .got \['b'\] of shape \(3,\)"),
        (lambda: lopt.lion_k(lo.PerLeaf(lo.Group())).init({"s": jnp.ones(())}), "axis -1"),
    ],
)
def test_invalid_arguments_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_kernel_parameters_may_be_traced():
    kernels = (lo.Huber, lo.SoftThreshold, lo.LogCosh, lo.Relativistic, lo.Lp, lo.Softmax)

    def maps(parameter):
        return jnp.stack([kernel(parameter).map({"m": jnp.asarray(M)})["m"] @ M for kernel in kernels])

    slopes = jax.jit(jax.jacfwd(maps))(jnp.float32(1.5))
    assert np.isfinite(slopes).all()
    np.testing.assert_array_equal(slopes != 0, [True, False, True, True, True, True])
