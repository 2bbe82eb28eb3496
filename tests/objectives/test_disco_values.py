"""Categorical values and debiased moments against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.objectives import ValueBins
from lopt.objectives.disco import DebiasedMoments, signed_hyperbolic, signed_parabolic

X = jnp.array([-1e4, -37.5, -1.0, -1e-3, 0.0, 1e-3, 0.25, 2.0, 1e4])


def test_the_transform_and_its_inverse():
    np.testing.assert_allclose(signed_hyperbolic(jnp.array([3.0, -8.0, 0.0])), [1.003, -2.008, 0.0], rtol=1e-6)
    np.testing.assert_allclose(signed_parabolic(signed_hyperbolic(X)), X, rtol=2e-3, atol=2e-4)
    np.testing.assert_array_equal(signed_hyperbolic(-X), -signed_hyperbolic(X))


@pytest.mark.parametrize("bins", [ValueBins(), ValueBins(11, 2.0)])
def test_two_hot_has_the_mean_of_the_value_on_two_bins(bins):
    grid = np.linspace(-bins.limit, bins.limit, bins.number)
    p = np.asarray(bins.two_hot(X), np.float64)
    expected = np.clip(signed_hyperbolic(X), -bins.limit, bins.limit)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(p @ grid, expected, rtol=1e-4, atol=1e-4)
    assert ((p > 0).sum(-1) <= 2).all() and (p >= 0).all()
    np.testing.assert_allclose(grid[p.argmax(-1)], expected, atol=0.51 * (grid[1] - grid[0]))


def test_two_hot_on_a_bin_is_one_hot():
    bins = ValueBins(11, 5.0)
    p = bins.two_hot(signed_parabolic(jnp.array([-5.0, 0.0, 5.0])))
    np.testing.assert_allclose(p[1], np.eye(11)[5], atol=1e-6)
    np.testing.assert_allclose(p[0], np.eye(11)[0], atol=1e-3)
    np.testing.assert_allclose(p[2], np.eye(11)[10], atol=1e-3)


def test_the_value_of_logits_inverts_two_hot():
    bins = ValueBins()
    logits = jnp.log(bins.two_hot(X) + 1e-30)
    np.testing.assert_allclose(bins.value(logits), X, rtol=2e-3, atol=1e-2)
    uniform = bins.cross_entropy(jnp.zeros(()), jnp.zeros(601))
    np.testing.assert_allclose(uniform, np.log(601), rtol=1e-5)


def test_debiased_moments_are_weighted_moments_of_all_batches():
    rng, decay = np.random.default_rng(0), 0.9
    batches = rng.normal(2.0, 3.0, (4, 5, 2)).astype(np.float32)
    moments = DebiasedMoments.zeros()
    for n, batch in enumerate(batches, 1):
        moments = moments.update(jnp.array(batch), decay)
        weights = decay ** np.arange(n)[::-1]
        weights = weights / weights.sum()
        mean = weights @ batches[:n].mean((1, 2))
        std = np.sqrt(weights @ (batches[:n] ** 2).mean((1, 2)) - mean**2)
        x = jnp.array(batch)
        np.testing.assert_allclose(moments.normalise(x), (batch - mean) / std, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(moments.normalise(x, centre=False), batch / std, rtol=1e-4, atol=1e-5)


def test_moments_of_a_constant_are_finite_and_not_differentiated():
    moments = DebiasedMoments.zeros().update(jnp.full((3,), 2.0), 0.99)
    np.testing.assert_allclose(moments.normalise(jnp.full((3,), 2.0)), 0.0, atol=1.0)
    slope = jax.grad(lambda x: DebiasedMoments.zeros().update(x, 0.99).m1)(jnp.ones(3))
    np.testing.assert_array_equal(slope, np.zeros(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((600, 300.0), "odd and at least 3 .got 600"), ((1, 1.0), "got 1"), ((3, float("inf")), "finite .got inf")],
)
def test_bad_bins(arguments, message):
    with pytest.raises(ValueError, match=message):
        ValueBins(*arguments)
