"""Input features of learned optimizers against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.optimizers import features

rng = np.random.default_rng(0)


def test_accumulators_are_running_means():
    decays, gradients = (0.5, 0.9), rng.normal(size=(6, 3, 2)).astype(np.float32)
    got = features.zeros(jnp.zeros((3, 2), jnp.bfloat16), 2)
    assert got.dtype == jnp.float32
    for g in gradients:
        got = features.accumulate(got, jnp.array(g), jnp.array(decays))
    weights = np.array([[(1 - d) * d ** (5 - t) for t in range(6)] for d in decays])
    np.testing.assert_allclose(got, np.einsum("kt,tij->ijk", weights, gradients), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((), (), ()),
        ((5,), (5,), (1,)),
        ((5, 2), (1, 2), (5, 1)),
        ((2, 5), (2, 1), (1, 5)),
        ((3, 2, 5), (3, 2, 1), (1, 2, 5)),
    ],
)
def test_factored_moments_are_means_over_the_two_longest_axes(shape, rows, columns):
    gradients = rng.normal(size=(4, *shape)).astype(np.float32)
    got = features.factored_zeros(jnp.zeros(shape), 1)
    full = np.zeros(shape)
    for g in gradients:
        got = features.accumulate_factored(got, jnp.array(g), jnp.array([0.9]))
        full = 0.9 * full + 0.1 * g**2
    assert got.rows.shape == (*rows, 1) and got.columns.shape == (*columns, 1)

    def mean(to):
        axes = tuple(i for i, (a, b) in enumerate(zip(shape, to, strict=True)) if a != b)
        return full.mean(axes, keepdims=True)[..., None]

    np.testing.assert_allclose(got.rows, mean(rows), rtol=1e-5)
    np.testing.assert_allclose(got.columns, mean(columns), rtol=1e-5)


def test_factored_rsqrt_is_exact_for_rank_one():
    """For vectors and scalars it is 1 / sqrt of the second moment."""
    for g in (np.outer(rng.normal(size=4), rng.normal(size=3)), rng.normal(size=5), rng.normal(size=())):
        moments = features.factored_zeros(jnp.zeros(g.shape), 1)
        moments = features.accumulate_factored(moments, jnp.array(g, jnp.float32), jnp.array([0.0]))
        got = features.factored_rsqrt(moments, g.shape)
        np.testing.assert_allclose(np.broadcast_to(got[..., 0], g.shape), 1 / np.abs(g), rtol=1e-4)


def test_normalised_features_have_unit_mean_square_per_tensor_whatever_the_scale():
    x = rng.normal(size=(4, 3, 2)).astype(np.float32) * [1e4, 1.0]
    got = features.normalise(jnp.array(x, jnp.float32))
    np.testing.assert_allclose(np.square(got).mean((0, 1)), 1, rtol=1e-4)
    assert features.normalise(jnp.zeros((0, 2, 3))).shape == (0, 2, 3)
    np.testing.assert_array_equal(features.normalise(jnp.zeros((4, 2))), np.zeros((4, 2)))


def test_sign_and_log():
    got = features.sign_and_log(jnp.array([-np.e, 0.0, 1.0]))
    np.testing.assert_allclose(got, [-1, 0, 1, 1, np.log(1e-13), 0], atol=1e-6)


def test_time_features_cross_zero_at_their_scale():
    for i, scale in enumerate(features.TIME_SCALES):
        assert abs(features.time(jnp.int32(scale))[i]) < 1e-6
    np.testing.assert_allclose(features.time(jnp.int32(0)), np.tanh(-1), rtol=1e-6)
    assert (np.diff(features.time(jnp.int32(3))) < 0).all()


def test_derivatives_are_finite_at_zero_gradients():
    def f(scale):
        g = jnp.zeros((3, 2)) * scale
        moments = features.accumulate_factored(features.factored_zeros(g, 1), g, jnp.array([0.9]))
        return (g[..., None] * features.factored_rsqrt(moments, g.shape) + features.normalise(g[..., None])).sum()

    assert np.isfinite(jax.jit(jax.grad(f))(1.0))
