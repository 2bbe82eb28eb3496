"""All kernels, and trees that each of them accepts."""

import jax
import jax.numpy as jnp
import numpy as np

from lopt import optimizers as lo


def diagonal(tree):
    """A positive diagonal preconditioner with different entries."""
    return jax.tree.map(lambda x: 1 + jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape) ** 2, tree)


QUADRATIC = lo.Quadratic(
    lambda m: jax.tree.map(jnp.multiply, diagonal(m), m),
    lambda y: jax.tree.map(jnp.divide, y, diagonal(y)),
)
KERNELS = {
    "l1": lo.L1(),
    "Huber": lo.Huber(0.4),
    "soft threshold": lo.SoftThreshold(0.3),
    "log-cosh": lo.LogCosh(2.0),
    "relativistic": lo.Relativistic(0.5),
    "l2": lo.L2(),
    "l3": lo.Lp(3.0),
    "l1.5": lo.Lp(1.5),
    "l-inf": lo.LInf(),
    "top-k": lo.TopK(4),
    "rows": lo.Group(),
    "neurons": lo.Group(axis=-2),
    "l2 per leaf": lo.PerLeaf(lo.L2()),
    "top-k per leaf": lo.PerLeaf(lo.TopK(2)),
    "nuclear": lo.Nuclear(),
    "softmax": lo.Softmax(0.7),
    "half square": lo.HalfSquare(),
    "half l1 square": lo.HalfL1Square(),
    "quadratic": QUADRATIC,
}
MATRICES = ("rows", "neurons", "nuclear")  # accept matrices only
FREE = ("half square", "half l1 square", "quadratic")  # K* is finite everywhere
ON_THE_BOUNDARY = ("l1", "l2", "l3", "l1.5", "l-inf", "top-k", "rows", "neurons", "l2 per leaf", "nuclear")


def matrices(seed, scale=1.0, dtype=np.float64):
    """A matrix, and a stack of matrices."""
    rng = np.random.default_rng(seed)
    return {"stack": dtype(scale * rng.normal(size=(2, 2, 3))), "w": dtype(scale * rng.normal(size=(3, 2)))}
