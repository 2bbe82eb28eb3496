"""The gradient of a lifetime's meta-loss in theta, against finite differences in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.meta import MetaGradient
from lopt.tasks import Quadratic, Rescaled, SupervisedLifetime, Variations
from tests.reference.rules import RULES, theta

UPDATES, NUM, WIDTH = 3, 2, 1e-6
FAST = ("learnable Adam",)  # the others take long to compile


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in RULES])
def test_meta_gradient_equals_finite_differences(name):
    """Along a random direction, and along the coordinate of the largest derivative of every leaf."""
    lifetime = SupervisedLifetime(
        task=Rescaled(task=Quadratic(dimensions=3, noise=0.1), smallest=0.5, largest=2.0),
        optimizer=RULES[name],
        held_out=False,
    )
    estimator = MetaGradient(lifetime=lifetime, num_updates=UPDATES)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        centre = jax.tree.map(np.float64, theta(name))
        if name == "LSTM":
            centre = jax.tree.map(lambda x: 3 * x, centre)  # so that rounding does not dominate the updates
        key = jax.random.key(1)
        levels = jax.jit(jax.vmap(Variations(task=lifetime.task, num_updates=100)))(jax.random.split(key, NUM))
        state = jax.jit(estimator.init)(key, centre, levels)
        assert {x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)} == {
            jnp.dtype("float64")
        }
        run = jax.jit(lambda theta: estimator.estimate(key, theta, levels, state))
        grads, _, _ = run(centre)

        def loss(direction, size):
            moved = jax.tree.map(lambda t, d: t + size * d, centre, direction)
            return float(run(moved)[2].meta["meta_loss"].mean())

        for direction in directions(centre, grads, rng):
            slope = sum(float((g * d).sum()) for g, d in zip(*map(jax.tree.leaves, (grads, direction)), strict=True))
            measured = (loss(direction, WIDTH) - loss(direction, -WIDTH)) / (2 * WIDTH)
            np.testing.assert_allclose(measured, slope, rtol=1e-4, atol=1e-8)
    assert any(np.abs(g).max() > 1e-4 for g in jax.tree.leaves(grads))


def directions(centre, grads, rng):
    """A random dense direction, and for every leaf the coordinate of its largest derivative."""
    yield jax.tree.map(lambda x: rng.normal(size=x.shape), centre)
    leaves, structure = jax.tree.flatten(grads)
    for i, leaf in enumerate(leaves):
        axes = [np.zeros(x.shape) for x in leaves]
        axes[i].flat[int(np.abs(leaf).argmax())] = 1.0
        yield jax.tree.unflatten(structure, axes)
