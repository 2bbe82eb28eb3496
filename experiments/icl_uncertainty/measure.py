"""Predictions of models and references on the same sequences, and what they are worth at every position."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.compiling import often
from experiments.icl_uncertainty.build import Study, draw, told
from lopt.tasks import (
    LinearRegression,
    PriorPredictor,
    averaging,
    descent,
    mean_and_std,
    ordinary,
    predict_from_pool,
    ridge,
)
from lopt.types import Theta

CURVE, TUNING, TABLE = 1, 2, 3
"""Which sequences: those of the learning curve, those that tune a baseline, those of the tables."""
BATCH = 256
QUANTILE = 1.645
"""A Gaussian is within so many standard deviations of its mean nine times in ten."""
Rule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""From inputs `[T, d]` and labels `[T]` to y_hat and sigma_hat `[T]` (NaN where there is none)."""


@dataclass(frozen=True)
class Sequences:
    """Sequences `[n, T, d]` and labels `[n, T]` of a distribution."""

    xs: jax.Array
    ys: jax.Array


@dataclass(frozen=True)
class Predicted:
    """y_hat and sigma_hat `[n, T]`, with the labels; sigma_hat is NaN where there is none."""

    ys: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def squared_error(self) -> np.ndarray:
        """(y - y_hat)^2."""
        return np.square(self.ys - self.mean)

    @property
    def loss(self) -> np.ndarray:
        """log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2)."""
        return np.log(self.std) + self.squared_error / (2 * np.square(self.std))

    @property
    def covered(self) -> np.ndarray:
        """Whether y is within 1.645 sigma_hat of y_hat."""
        return np.abs(self.ys - self.mean) < QUANTILE * self.std


Method = Callable[[Sequences], Predicted]
"""From sequences to predictions."""


def sequences(task: LinearRegression, which: int, number: int) -> Sequences:
    """Always the same ones for the same arguments."""
    return Sequences(*draw(task, which, number))


def random_labels(given: Sequences) -> Sequences:
    """The same inputs with the labels of other sequences: no function explains them."""
    return Sequences(given.xs, jnp.roll(given.ys, 1, 0))


def at_all(rule: Rule) -> Method:
    """A rule on many sequences, compiled once for every shape of them."""
    many = often(lambda xs, ys: jax.lax.map(lambda s: rule(*s), (xs, ys), batch_size=min(BATCH, len(xs))))

    def predict(given: Sequences) -> Predicted:
        return Predicted(*(np.asarray(x, np.float64) for x in (given.ys, *many(given.xs, given.ys))))

    return predict


def trained(study: Study) -> Callable[[Theta, Sequences], Predicted]:
    """What models of this study predict; compiled once for every shape."""
    has_std = study.outputs == 2

    @often
    def many(theta, xs, ys_prev):
        outputs = jax.lax.map(lambda s: study.model.apply(theta, *s), (xs, ys_prev), batch_size=min(BATCH, len(xs)))
        return jax.vmap(mean_and_std)(outputs) if has_std else (outputs[..., 0], jnp.full(outputs.shape[:2], jnp.nan))

    def predict(theta: Theta, given: Sequences) -> Predicted:
        return Predicted(*(np.asarray(x, np.float64) for x in (given.ys, *many(theta, given.xs, told(given.ys)))))

    return predict


def references(study: Study) -> dict[str, Method]:
    """The exact posterior of the prior that training draws from (or its limit without noise), and classical methods."""
    here = study.config.task
    rules: dict[str, Rule] = {}
    if min(here.noises) > 0:
        rules["Bayes"] = _posterior(PriorPredictor(here.std, here.noises).predict)
    mean_square = float(np.square(here.noises).mean())
    if len(here.noises) > 1:
        rules["ridge"] = _plain(partial(ridge, penalty=mean_square / here.std**2))
    rules["least squares"] = _plain(ordinary)
    if here.objective == "mean":
        rules["averaging"] = _plain(averaging)
        for steps in (1, study.config.model.layers):
            rules[f"{steps} step{'s' * (steps > 1)} of descent"] = _tuned_descent(study, steps)
    return {name: at_all(rule) for name, rule in rules.items()}


def pool_posterior(task: LinearRegression) -> Method:
    """The exact posterior over the functions of a pool: with one noise, dMMSE."""
    functions = jax.jit(task.functions)()
    return at_all(_posterior(partial(predict_from_pool, functions)))


def _tuned_descent(study: Study, steps: int) -> Rule:
    """Descent with the step size that is best on average over the positions, on sequences of its own."""
    prior = next(iter(study.shifts().values()))
    given = sequences(prior, TUNING, BATCH)
    errors = often(
        jax.vmap(
            lambda size: jnp.square(
                jax.vmap(partial(descent, step_size=size, num_steps=steps))(given.xs, given.ys[..., None])
                - given.ys[..., None]
            ).mean()
        )
    )
    sizes = jnp.geomspace(0.02, 2.0, 41)
    best = float(sizes[jnp.nanargmin(errors(sizes))])
    return _plain(partial(descent, step_size=best, num_steps=steps))


def _plain(method: Callable[[jax.Array, jax.Array], jax.Array]) -> Rule:
    def rule(xs: jax.Array, ys: jax.Array) -> tuple[jax.Array, jax.Array]:
        return method(xs, ys[:, None])[:, 0], jnp.full(ys.shape, jnp.nan)

    return rule


def _posterior(predict: Callable) -> Rule:
    def rule(xs: jax.Array, ys: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = predict(xs, ys)
        return found.mean, jnp.sqrt(found.variance)

    return rule
