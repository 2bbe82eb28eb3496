"""Predictions of in-context regressors on the same sequences, and their errors at every position."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lopt.protocols import SequenceModel
from lopt.tasks import LinearRegression, mean_and_std
from lopt.training.compiling import jit_repeated
from lopt.types import Key, Theta

QUANTILE = 1.645
"""A Gaussian variable is within this many standard deviations of its mean with probability 0.90."""
Rule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""From inputs `[T, d]` and labels `[T]` of a sequence to y_hat and sigma_hat `[T]` (NaN if not predicted)."""


@dataclass(frozen=True)
class Sequences:
    """Inputs `[n, T, d]` and labels `[n, T]` of n sequences."""

    xs: jax.Array
    ys: jax.Array

    @classmethod
    def sample(cls, task: LinearRegression, seed: int, number: int) -> "Sequences":
        """One sequence each of `number` functions, determined by the seed."""

        def one(key: Key):
            key_task, key_context = jax.random.split(key)
            c = task.context(key_context, task.sample(key_task), held_out=True)
            return c.xs, c.targets[:, 0]

        return cls(*jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), number)))

    @property
    def previous_labels(self) -> jax.Array:
        """The model inputs `ys_prev` `[n, T, 1]`."""
        return jnp.concatenate([jnp.zeros_like(self.ys[:, :1]), self.ys[:, :-1]], 1)[..., None]

    def with_random_labels(self) -> "Sequences":
        """The same inputs with the labels of other sequences, which no function explains."""
        return Sequences(self.xs, jnp.roll(self.ys, 1, 0))


@dataclass(frozen=True)
class Predictions:
    """Predictions on n sequences.

    Attributes:
        ys: labels y, `[n, T]`.
        mean: y_hat, `[n, T]`.
        std: sigma_hat, `[n, T]`; NaN for methods that do not predict it.
    """

    ys: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def squared_error(self) -> np.ndarray:
        """(y - y_hat)^2, `[n, T]`."""
        return np.square(self.ys - self.mean)

    @property
    def loss(self) -> np.ndarray:
        """log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2), `[n, T]`."""
        return np.log(self.std) + self.squared_error / (2 * np.square(self.std))

    @property
    def coverage(self) -> np.ndarray:
        """Whether y is in the central 90 % interval, |y - y_hat| < 1.645 sigma_hat, `[n, T]`."""
        return np.abs(self.ys - self.mean) < QUANTILE * self.std


Method = Callable[[Sequences], Predictions]
"""A rule on many sequences."""


def vectorise(rule: Rule, batch_size: int) -> Method:
    """The method that applies a rule to every sequence, compiled once per shape."""
    apply = jit_repeated(lambda xs, ys: jax.lax.map(lambda s: rule(*s), (xs, ys), batch_size=min(batch_size, len(xs))))

    def predict(data: Sequences) -> Predictions:
        return Predictions(*(np.asarray(x, np.float64) for x in (data.ys, *apply(data.xs, data.ys))))

    return predict


def model_predictor(model: SequenceModel, with_std: bool, batch_size: int) -> Callable[[Theta, Sequences], Predictions]:
    """A function from the weights of a model and sequences to predictions, compiled once per shape.

    Args:
        model: the model.
        with_std: whether its outputs are y_hat and sigma_hat (`mean_and_std`), or y_hat alone.
        batch_size: number of sequences evaluated at once.
    """

    @jit_repeated
    def apply(theta, xs, ys_prev):
        outputs = jax.lax.map(lambda s: model.apply(theta, *s), (xs, ys_prev), batch_size=min(batch_size, len(xs)))
        return jax.vmap(mean_and_std)(outputs) if with_std else (outputs[..., 0], jnp.full(outputs.shape[:2], jnp.nan))

    def predict(theta: Theta, data: Sequences) -> Predictions:
        mean, std = apply(theta, data.xs, data.previous_labels)
        return Predictions(*(np.asarray(x, np.float64) for x in (data.ys, mean, std)))

    return predict
