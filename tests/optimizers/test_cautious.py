"""Cautious updates against an implementation in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt
from tests.reference.ulps import assert_ulps

RNG = np.random.default_rng(0)
GRADS = [{"w": np.float32(RNG.normal(size=(3, 4))), "b": np.float32(RNG.normal(size=3))} for _ in range(5)]
INITIAL = {"w": jnp.ones((3, 4)), "b": jnp.zeros(3)}


def run(tx):
    p, state = INITIAL, tx.init(INITIAL)
    for g in GRADS:
        updates, state = tx.update(g, state, p)
        p = optax.apply_updates(p, updates)
    return p, updates, state


def test_cautious_lion_equals_the_published_algorithm():
    rate, decay, b1, b2 = 0.1, 0.5, 0.9, 0.99
    tx = optax.chain(
        lopt.cautious(lopt.scale_by_lion(b1, b2), direction=True),
        optax.add_decayed_weights(decay),
        optax.scale_by_learning_rate(rate),
    )
    p = {k: np.array(x) for k, x in INITIAL.items()}
    m = {k: np.zeros_like(x) for k, x in p.items()}
    for g in GRADS:
        for k in p:
            u = np.sign(b1 * m[k] + (1 - b1) * g[k])
            mask = u * g[k] > 0
            p[k] = p[k] - rate * (u * mask * mask.size / (mask.sum() + 1) + decay * p[k])
            m[k] = b2 * m[k] + (1 - b2) * g[k]
    found, _, _ = run(tx)
    for k in p:
        np.testing.assert_allclose(found[k], p[k], rtol=1e-5)


def test_no_update_ascends_along_the_gradient():
    _, uncautious, state = run(lopt.lion(0.1))
    _, updates, cautious_state = run(lopt.cautious(lopt.lion(0.1)))
    assert jax.tree.structure(state) == jax.tree.structure(cautious_state)
    ascends = jax.tree.map(lambda u, g: u * g > 0, uncautious, GRADS[-1])
    assert any(x.any() for x in jax.tree.leaves(ascends))
    for u, g in zip(jax.tree.leaves(updates), jax.tree.leaves(GRADS[-1]), strict=True):
        assert (u * g <= 0).all() and (u != 0).any()


def test_it_wraps_any_optimizer_with_and_without_rescaling():
    _, sgd, _ = run(optax.sgd(0.1))
    _, unscaled, _ = run(lopt.cautious(optax.sgd(0.1), rescale=False))
    _, scaled, _ = run(lopt.cautious(optax.sgd(0.1)))
    for key, size in (("w", 12), ("b", 3)):
        assert_ulps(unscaled[key], sgd[key], ulps=1)  # a product
        np.testing.assert_allclose(scaled[key], sgd[key] * size / (size + 1), rtol=1e-6)
