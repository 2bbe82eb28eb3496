"""The stationarity gap of Lion-K: closed forms, its zeros, the constraint set, types."""

import jax
import jax.numpy as jnp
import numpy as np

import lopt
from lopt import optimizers as lo

X = {"w": jnp.array([0.5, -0.2, 0.1]), "b": jnp.array(-0.5)}
G = {"w": jnp.array([-2.0, 0.3, 0.0]), "b": jnp.array(1.0)}


def test_for_lion_it_is_the_frank_wolfe_gap():
    lam = 2.0
    frank_wolfe_gap = sum(np.sum(np.abs(G[k]) * (1 + lam * X[k] * np.sign(G[k]))) for k in X)
    np.testing.assert_allclose(jax.jit(lambda x, g: lopt.kkt_gap(x, g, lam, lo.L1()))(X, G), frank_wolfe_gap, rtol=1e-6)


def test_it_is_zero_at_a_corner_of_the_box_if_the_descent_direction_points_outward():
    x, g = {"w": jnp.array([0.5, -0.5])}, {"w": jnp.array([-3.0, 1e-3])}
    assert lopt.kkt_gap(x, g, 2.0, lo.L1()) == 0
    assert lopt.kkt_gap({"w": -x["w"]}, g, 2.0, lo.L1()) > 6


def test_outside_the_set_it_is_infinite_up_to_rounding():
    assert np.isposinf(lopt.kkt_gap(X, G, 2.2, lo.L1()))
    assert np.isfinite(lopt.kkt_gap(jax.tree.map(lambda x: x * (1 + 1e-6), X), G, 2.0, lo.L1()))


def test_without_weight_decay_it_is_the_norm_of_the_gradient():
    np.testing.assert_allclose(lopt.kkt_gap(X, G, 0.0, lo.L1()), 3.3, rtol=1e-6)
    np.testing.assert_allclose(lopt.kkt_gap(X, G, 0, lo.L2()), np.sqrt(5.09), rtol=1e-6)


def test_it_is_float32_for_bfloat16_parameters():
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (X, G))
    gap = lopt.kkt_gap(*half, 1.0, lo.L2())
    assert gap.shape == () and gap.dtype == jnp.float32 and 0 < gap < 10
