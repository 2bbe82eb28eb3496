"""The gradient of a life's loss in its optimizer's theta, against finite differences in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.meta import MetaGradient
from lopt.tasks import Quadratic, Rescaled, SupervisedLifetime, Variations
from tests.reference.rules import RULES, theta

UPDATES, NUM, WIDTH = 3, 2, 1e-6
QUICK = ("learnable Adam",)  # the others take long to compile


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in RULES]
)
def test_the_meta_gradient_equals_finite_differences(name):
    """Along a random direction, and along the axes of every leaf's largest derivative."""
    life = SupervisedLifetime(Rescaled(Quadratic(3, noise=0.1), 0.5, 2.0), RULES[name], held_out=False)
    estimator = MetaGradient(life, UPDATES)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        centre = jax.tree.map(np.float64, theta(name))
        if name == "LSTM":
            centre = jax.tree.map(lambda x: 3 * x, centre)  # so that the updates are not lost in rounding
        key = jax.random.key(1)
        some = jax.jit(jax.vmap(Variations(life.task, 100)))(jax.random.split(key, NUM))
        state = jax.jit(estimator.init)(key, centre, some)
        assert {x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)} == {
            jnp.dtype("float64")
        }
        run = jax.jit(lambda theta: estimator.estimate(key, theta, some, state))
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
    """A dense one, and one axis per leaf that matters."""
    yield jax.tree.map(lambda x: rng.normal(size=x.shape), centre)
    leaves, structure = jax.tree.flatten(grads)
    for i, leaf in enumerate(leaves):
        axes = [np.zeros(x.shape) for x in leaves]
        axes[i].flat[int(np.abs(leaf).argmax())] = 1.0
        yield jax.tree.unflatten(structure, axes)
