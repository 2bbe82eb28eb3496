"""The smallest supervised lifetimes."""

import functools

import jax
import numpy as np
import optax

from lopt import optimizers as lo
from lopt.tasks import (
    Dataset,
    DatasetTask,
    Perceptron,
    Quadratic,
    Rescaled,
    Rosenbrock,
    SupervisedLifetime,
    Variations,
    cross_entropy,
    split,
)


@functools.cache
def spots() -> Dataset:
    """Forty points in three classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 3
    inputs = (np.eye(3, 4)[labels] + 0.3 * rng.normal(size=(40, 4))).astype(np.float32)
    return split(inputs, labels, 3)


def classification(**changes):
    """A tiny network on tiny data."""
    return DatasetTask(spots(), Perceptron((5,), 3), cross_entropy, **({"batch_size": 4} | changes))


LIVES = {
    "supervised, by an MLP": lambda: SupervisedLifetime(classification(), lo.MLPRule((3,), 0.1, 0.1)),
    "supervised, by OPEN, noisy and rescaled": lambda: SupervisedLifetime(
        Rescaled(Quadratic(3, noise=0.1), 0.1, 10.0), lo.OpenRule(2, 3, 0.1, 0.1), held_out=False
    ),
    "supervised, by AdamW": lambda: SupervisedLifetime(
        Rosenbrock(noise=0.1), lo.Designed(lambda _: optax.adamw(0.01)), bound=10.0
    ),
}


def levels(lifetime, *lengths):
    """Variations of its task, of these lifetimes."""
    keys = jax.random.split(jax.random.key(7), len(lengths))
    drawn = jax.jit(jax.vmap(Variations(lifetime.task, 100)))(keys)
    return drawn.replace(lifetime=np.array(lengths, np.int32))
