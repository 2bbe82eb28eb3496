"""Exact posterior predictions of noisy linear functions, at every position of a sequence."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.tasks.regression import LinearFunction


class Prediction(struct.PyTreeNode):
    """Mean and variance of y_t given x_1, y_1, ..., x_{t-1}, y_{t-1}, x_t, and the logarithm of its density at y_t."""

    mean: Float[Array, " T"]
    variance: Float[Array, " T"]
    log_density: Float[Array, " T"]


@dataclass(frozen=True)
class PriorPredictor:
    """For w ~ N(0, std^2 I) and sigma uniform on `noises`: a mixture of Gaussians, one per sigma.

    Given sigma, with S = (X^T X / sigma^2 + I / std^2)^-1 and m = S X^T y / sigma^2 of the examples so far, y_t has the
    mean m . x_t and the variance sigma^2 + x_t^T S x_t; the product of the densities at the examples so far is the
    evidence that weighs the sigmas.

    Attributes:
        std: of the weights.
        noises: values of sigma.

    Raises:
        ValueError: no noises, or a `std` or noise that is not positive.
    """

    std: float
    noises: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.noises or min(self.noises) <= 0 or self.std <= 0:
            raise ValueError(
                "PriorPredictor: expected positive std and at least one noise, all positive "
                f"(got {self.std} and {self.noises})"
            )

    def predict(self, xs: Float[Array, "T X"], ys: Float[Array, " T"]) -> Prediction:
        """For all positions."""

        def given(noise):
            def step(precision_and_moment, example):
                precision, moment = precision_and_moment
                x, y = example
                solved = jnp.linalg.solve(precision, jnp.stack([moment, x], -1))
                after = precision + jnp.outer(x, x) / noise**2, moment + x * y / noise**2
                return after, (x @ solved[:, 0], noise**2 + x @ solved[:, 1])

            born = jnp.eye(xs.shape[1]) / self.std**2, jnp.zeros(xs.shape[1])
            return jax.lax.scan(step, born, (xs, ys))[1]

        means, variances = jax.vmap(given)(jnp.array(self.noises))
        return _mixture(means, variances, ys)


def predict_from_pool(functions: LinearFunction, xs: Float[Array, "T X"], ys: Float[Array, " T"]) -> Prediction:
    """For functions `[M]` that are equally likely; where all have one noise, the mean is the dMMSE estimate.

    Paper: arXiv 2306.15063, section 2 (dMMSE).
    """
    means = functions.weights @ xs.T
    return _mixture(means, jnp.broadcast_to(jnp.square(functions.noise)[:, None], means.shape), ys)


def _mixture(means: Array, variances: Array, ys: Array) -> Prediction:
    """Of components `[K, T]` that are equally likely before the first example."""
    log_densities = -0.5 * (jnp.log(2 * jnp.pi * variances) + jnp.square(ys[None] - means) / variances)
    evidence = jnp.cumsum(log_densities, 1) - log_densities  # of the examples before
    log_weights = jax.nn.log_softmax(evidence, 0)
    weights = jnp.exp(log_weights)
    mean = (weights * means).sum(0)
    variance = (weights * (variances + jnp.square(means - mean[None]))).sum(0)
    return Prediction(mean, variance, jax.nn.logsumexp(log_weights + log_densities, 0))
