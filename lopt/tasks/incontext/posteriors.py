"""Exact Bayesian predictions for noisy linear functions at every position of a sequence."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.tasks.incontext.regression import LinearFunction


class Prediction(struct.PyTreeNode):
    """The posterior predictive distribution of y_t given x_1, y_1, ..., x_{t-1}, y_{t-1}, x_t, for every t.

    Attributes:
        mean: of y_t, `[T]`.
        variance: of y_t, `[T]`.
        log_density: logarithm of the density at the observed y_t, `[T]`, in nats.
    """

    mean: Float[Array, " T"]
    variance: Float[Array, " T"]
    log_density: Float[Array, " T"]


@dataclass(frozen=True)
class PriorPredictor:
    """Posterior predictive distribution under the prior w ~ N(0, std^2 I), sigma uniform on `noises`.

    Given sigma, let S = (X^T X / sigma^2 + I / std^2)^-1 and m = S X^T y / sigma^2, over the examples before position
    t. Then y_t is Gaussian with mean m . x_t and variance sigma^2 + x_t^T S x_t. The result is the mixture of these
    Gaussians over sigma, weighted by the marginal likelihood of the earlier labels under each sigma.

    Attributes:
        std: standard deviation of each weight.
        noises: the values of sigma, equally likely a priori.

    Raises:
        ValueError: `noises` is empty, or `std` or a noise is not positive.
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
        """The predictive distribution at all T positions of one sequence; position t uses only earlier labels."""

        def component(noise):
            def step(precision_and_moment, example):
                precision, moment = precision_and_moment
                x, y = example
                solved = jnp.linalg.solve(precision, jnp.stack([moment, x], -1))
                updated = precision + jnp.outer(x, x) / noise**2, moment + x * y / noise**2
                return updated, (x @ solved[:, 0], noise**2 + x @ solved[:, 1])

            prior = jnp.eye(xs.shape[1]) / self.std**2, jnp.zeros(xs.shape[1])
            return jax.lax.scan(step, prior, (xs, ys))[1]

        means, variances = jax.vmap(component)(jnp.array(self.noises))
        return _mixture(means, variances, ys)


def predict_from_pool(functions: LinearFunction, xs: Float[Array, "T X"], ys: Float[Array, " T"]) -> Prediction:
    """Posterior predictive distribution under the uniform prior on a pool of M functions.

    Where all functions have the same noise, the mean is the dMMSE estimate.

    Args:
        functions: the pool, with leading axis `[M]`.
        xs: inputs of one sequence.
        ys: labels of the sequence; position t uses only earlier ones.

    Paper: arXiv 2306.15063, section 2 (dMMSE).
    """
    means = functions.weights @ xs.T
    return _mixture(means, jnp.broadcast_to(jnp.square(functions.noise)[:, None], means.shape), ys)


def _mixture(means: Array, variances: Array, ys: Array) -> Prediction:
    """The mixture of Gaussian components `[K, T]` that have equal prior probability."""
    log_densities = -0.5 * (jnp.log(2 * jnp.pi * variances) + jnp.square(ys[None] - means) / variances)
    log_evidence = jnp.cumsum(log_densities, 1) - log_densities  # of the examples before position t
    log_weights = jax.nn.log_softmax(log_evidence, 0)
    weights = jnp.exp(log_weights)
    mean = (weights * means).sum(0)
    variance = (weights * (variances + jnp.square(means - mean[None]))).sum(0)
    return Prediction(mean, variance, jax.nn.logsumexp(log_weights + log_densities, 0))
