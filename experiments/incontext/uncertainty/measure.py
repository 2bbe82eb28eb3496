"""Predictions of models and references on the same sequences, and their errors at every position."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.incontext.uncertainty.build import Study
from lopt.evaluation.regression import Method, Predictions, Rule, Sequences, model_predictor, vectorise
from lopt.tasks import (
    LinearRegression,
    PriorPredictor,
    averaging,
    gradient_descent,
    least_squares,
    predict_from_pool,
    ridge,
)
from lopt.training import jit_repeated
from lopt.types import Theta

CURVE_SEED, TUNING_SEED, REPORT_SEED = 1, 2, 3
"""Seeds of the sequences of the learning curve, of the tuning of baselines, and of the report."""
BATCH = 256
"""Sequences per batch of a compiled evaluation, and of the learning curve."""


def model_predictions(study: Study) -> Callable[[Theta, Sequences], Predictions]:
    """A function from the weights of a model of the study and sequences to predictions, compiled once per shape."""
    return model_predictor(study.model, with_std=study.outputs == 2, batch_size=BATCH)


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
    return {name: vectorise(rule, BATCH) for name, rule in rules.items()}


def pool_posterior(task: LinearRegression) -> Method:
    """The exact posterior over the functions of a task's pool (with a single noise value, dMMSE)."""
    functions = jax.jit(task.functions)()
    return vectorise(_posterior(partial(predict_from_pool, functions)), BATCH)


def _tuned_gradient_descent(study: Study, steps: int) -> Rule:
    """Gradient descent with the step size of least mean error over positions, on sequences for tuning only."""
    prior = next(iter(study.shifts().values()))
    data = Sequences.sample(prior, TUNING_SEED, BATCH)
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
