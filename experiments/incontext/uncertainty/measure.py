"""Predictions of models and references on the same sequences, and their errors at every position."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.incontext.uncertainty.build import Study, previous_labels, sample_sequences
from lopt.tasks import (
    LinearRegression,
    PriorPredictor,
    averaging,
    gradient_descent,
    least_squares,
    mean_and_std,
    predict_from_pool,
    ridge,
)
from lopt.training import jit_repeated
from lopt.types import Theta

CURVE_SEED, TUNING_SEED, REPORT_SEED = 1, 2, 3
"""Seeds of the sequences of the learning curve, of the tuning of baselines, and of the report."""
BATCH = 256
"""Sequences per batch of a compiled evaluation, and of the learning curve."""
QUANTILE = 1.645
"""A Gaussian variable is within this many standard deviations of its mean with probability 0.90."""
Rule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""From inputs `[T, d]` and labels `[T]` of a sequence to y_hat and sigma_hat `[T]` (NaN if not predicted)."""


@dataclass(frozen=True)
class Sequences:
    """Inputs `[n, T, d]` and labels `[n, T]` of n sequences."""

    xs: jax.Array
    ys: jax.Array


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


def sequences(task: LinearRegression, seed: int, number: int) -> Sequences:
    """`number` sequences of a task, determined by the seed."""
    return Sequences(*sample_sequences(task, seed, number))


def random_labels(data: Sequences) -> Sequences:
    """The same inputs with the labels of other sequences, which no function explains."""
    return Sequences(data.xs, jnp.roll(data.ys, 1, 0))


def vectorise(rule: Rule) -> Method:
    """The method that applies a rule to every sequence, compiled once per shape."""
    apply = jit_repeated(lambda xs, ys: jax.lax.map(lambda s: rule(*s), (xs, ys), batch_size=min(BATCH, len(xs))))

    def predict(data: Sequences) -> Predictions:
        return Predictions(*(np.asarray(x, np.float64) for x in (data.ys, *apply(data.xs, data.ys))))

    return predict


def model_predictions(study: Study) -> Callable[[Theta, Sequences], Predictions]:
    """A function from the weights of a model of the study and sequences to predictions, compiled once per shape."""
    has_std = study.outputs == 2

    @jit_repeated
    def apply(theta, xs, ys_prev):
        outputs = jax.lax.map(lambda s: study.model.apply(theta, *s), (xs, ys_prev), batch_size=min(BATCH, len(xs)))
        return jax.vmap(mean_and_std)(outputs) if has_std else (outputs[..., 0], jnp.full(outputs.shape[:2], jnp.nan))

    def predict(theta: Theta, data: Sequences) -> Predictions:
        mean, std = apply(theta, data.xs, previous_labels(data.ys))
        return Predictions(*(np.asarray(x, np.float64) for x in (data.ys, mean, std)))

    return predict


def references(study: Study) -> dict[str, Method]:
    """The references by name: first the exact one, then classical methods.

    The exact reference is the posterior under the training prior, or without noise its limit, least squares.
    """
    options = study.config.task
    rules: dict[str, Rule] = {}
    if min(options.noises) > 0:
        rules["Bayes"] = _posterior(PriorPredictor(options.std, options.noises).predict)
    mean_square = float(np.square(options.noises).mean())
    if len(options.noises) > 1:
        rules["ridge"] = _mean_only(partial(ridge, penalty=mean_square / options.std**2))
    rules["least squares"] = _mean_only(least_squares)
    if options.objective == "mean":
        rules["averaging"] = _mean_only(averaging)
        for steps in (1, study.config.model.layers):
            rules[f"gradient descent, {steps} step{'s' * (steps > 1)}"] = _tuned_gradient_descent(study, steps)
    return {name: vectorise(rule) for name, rule in rules.items()}


def pool_posterior(task: LinearRegression) -> Method:
    """The exact posterior over the functions of a task's pool (with a single noise value, dMMSE)."""
    functions = jax.jit(task.functions)()
    return vectorise(_posterior(partial(predict_from_pool, functions)))


def _tuned_gradient_descent(study: Study, steps: int) -> Rule:
    """Gradient descent with the step size of least mean error over positions, on sequences for tuning only."""
    prior = next(iter(study.shifts().values()))
    data = sequences(prior, TUNING_SEED, BATCH)
    errors = jit_repeated(
        jax.vmap(
            lambda size: jnp.square(
                jax.vmap(partial(gradient_descent, step_size=size, num_steps=steps))(data.xs, data.ys[..., None])
                - data.ys[..., None]
            ).mean()
        )
    )
    sizes = jnp.geomspace(0.02, 2.0, 41)
    best = float(sizes[jnp.nanargmin(errors(sizes))])
    return _mean_only(partial(gradient_descent, step_size=best, num_steps=steps))


def _mean_only(method: Callable[[jax.Array, jax.Array], jax.Array]) -> Rule:
    """A rule without sigma_hat from a method of `lopt.tasks.incontext.baselines`."""

    def rule(xs: jax.Array, ys: jax.Array) -> tuple[jax.Array, jax.Array]:
        return method(xs, ys[:, None])[:, 0], jnp.full(ys.shape, jnp.nan)

    return rule


def _posterior(predict: Callable) -> Rule:
    """A rule from a posterior predictive distribution."""

    def rule(xs: jax.Array, ys: jax.Array) -> tuple[jax.Array, jax.Array]:
        prediction = predict(xs, ys)
        return prediction.mean, jnp.sqrt(prediction.variance)

    return rule
