"""Small supervised lifetimes, for the tests."""

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
    RandomSchedule,
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
    """A small network trained on `spots`."""
    return DatasetTask(data=spots(), net=Perceptron((5,), 3), criterion=cross_entropy, **({"batch_size": 4} | changes))


LIFETIMES = {
    "supervised, by an MLP": lambda: SupervisedLifetime(
        task=classification(), optimizer=lo.MLPRule(hidden=(3,), step_size=0.1, exponent=0.1)
    ),
    "supervised, by OPEN, noisy and rescaled": lambda: SupervisedLifetime(
        task=Rescaled(task=Quadratic(dimensions=3, noise=0.1), smallest=0.1, largest=10.0),
        optimizer=lo.OpenRule(recurrent=2, width=3, step_size=0.1, exponent=0.1),
        held_out=False,
    ),
    "supervised, by the normalised rule, scheduled": lambda: SupervisedLifetime(
        task=RandomSchedule(task=classification(), smallest=0.01, largest=0.1),
        optimizer=lo.Scheduled(lo.NormalisedRule(hidden=(2,), learning_rate=1.0)),
    ),
    "supervised, by AdamW": lambda: SupervisedLifetime(
        task=Rosenbrock(noise=0.1), optimizer=lo.FromOptax(lambda _: optax.adamw(0.01)), bound=10.0
    ),
}


def levels(lifetime, *lengths):
    """Levels with these lifetimes, each an instance of the lifetime's task."""
    keys = jax.random.split(jax.random.key(7), len(lengths))
    sampled = jax.jit(jax.vmap(Variations(task=lifetime.task, num_updates=100)))(keys)
    return sampled.replace(num_updates=np.array(lengths, np.int32))
