"""In-context linear regression: functions from a prior or from a finite pool, with noise of unknown variance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.types import Context, Key

PositionLosses = tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]
Criterion = Callable[[Float[Array, "T F"], Float[Array, "T 1"]], PositionLosses]
"""A function from outputs `[T, F]` and targets `[T, 1]` of a sequence to losses and metrics at every position `[T]`."""
LOG_STD_LIMIT = 5.0
"""Bound of |log sigma_hat|."""


@runtime_checkable
class Inputs(Protocol):
    """A distribution of i.i.d. inputs with independent coordinates."""

    def sample(self, key: Key, shape: tuple[int, int]) -> Float[Array, "T X"]:
        """The inputs of one sequence, with `shape` (T, X)."""
        ...


@dataclass(frozen=True)
class GaussianInputs:
    """Gaussian inputs: x_i ~ N(0, scales_i^2).

    Attributes:
        scales: standard deviation of every coordinate, or one value for all coordinates.
    """

    scales: Sequence[float] = (1.0,)

    def sample(self, key: Key, shape: tuple[int, int]) -> Float[Array, "T X"]:
        """The inputs of one sequence, with `shape` (T, X)."""
        return jax.random.normal(key, shape) * jnp.broadcast_to(jnp.array(self.scales), shape)

    def moments(self) -> tuple[float, float]:
        """(E x_1^2, E x_1^4) of the first coordinate."""
        return self.scales[0] ** 2, 3 * self.scales[0] ** 4


@dataclass(frozen=True)
class UniformInputs:
    """Uniform inputs: x_i ~ U(-width / 2, width / 2)."""

    width: float = 1.0

    def sample(self, key: Key, shape: tuple[int, int]) -> Float[Array, "T X"]:
        """The inputs of one sequence, with `shape` (T, X)."""
        return jax.random.uniform(key, shape, minval=-self.width / 2, maxval=self.width / 2)

    def moments(self) -> tuple[float, float]:
        """(E x_i^2, E x_i^4) of any coordinate."""
        return self.width**2 / 12, self.width**4 / 80


def squared_errors(outputs: Float[Array, "T 1"], targets: Float[Array, "T 1"]) -> PositionLosses:
    """Squared errors (y_t - y_hat_t)^2 of outputs y_hat, without metrics."""
    return jnp.square(targets - outputs)[:, 0], {}


def mean_and_std(outputs: Float[Array, "T 2"]) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    """y_hat and sigma_hat `[T]` from outputs (y_hat, log sigma_hat); log sigma_hat is clipped to [-5, 5]."""
    return outputs[:, 0], jnp.exp(jnp.clip(outputs[:, 1], -LOG_STD_LIMIT, LOG_STD_LIMIT))


def gaussian_losses(outputs: Float[Array, "T 2"], targets: Float[Array, "T 1"]) -> PositionLosses:
    """Gaussian negative log-likelihoods log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2), without the constant.

    The expected loss is minimal at the conditional mean and variance of y_t given its context. Metrics: `squared_error`
    and `std` (sigma_hat), `[T]`.

    Paper: arXiv 2405.15115, equation of the bi-objective loss.
    """
    mean, std = mean_and_std(outputs)
    error = jnp.square(targets[:, 0] - mean)
    return jnp.log(std) + error / (2 * jnp.square(std)), {"squared_error": error, "std": std}


class LinearFunction(struct.PyTreeNode):
    """A task of `LinearRegression`: y = w . x + sigma eps with eps ~ N(0, 1).

    Attributes:
        weights: w, `[X]`.
        noise: sigma.
    """

    weights: Float[Array, "*n X"]
    noise: Float[Array, "*n"]


@dataclass(frozen=True, kw_only=True)
class LinearRegression:
    """Tasks y_t = w . x_t + sigma eps_t with eps_t ~ N(0, 1), w ~ N(mean, std^2 I) and sigma uniform on `noises`.

    With `pool` M, tasks are drawn uniformly from a fixed pool of M functions, which are draws from this prior.

    Attributes:
        dimensions: X, coordinates of an input.
        length: T, examples per sequence.
        noises: the values of sigma, equally likely; a single value for known noise.
        std: standard deviation of the weights.
        mean: mean of every weight.
        inputs: distribution of x.
        criterion: `squared_errors` (output y_hat) or `gaussian_losses` (outputs y_hat and log sigma_hat).
        pool: M, size of the pool; None for a new function per task.
        pool_seed: seed of the pool.

    Raises:
        ValueError: a size is below one, `noises` is empty or has a negative value, or `std` is negative.

    Paper: arXiv 2208.01066 (noise-free regression), 2306.15063 (pools), 2405.15115 (unknown noise).
    Differs: one token per example, concat(x_t, y_{t-1}), where the papers have two; the distribution of sigma.
    """

    dimensions: int = 4
    length: int = 20
    noises: tuple[float, ...] = (0.0,)
    std: float = 1.0
    mean: float = 0.0
    inputs: Inputs = field(default_factory=GaussianInputs)
    criterion: Criterion = squared_errors
    pool: int | None = None
    pool_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dimensions", "length", "pool"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"LinearRegression: {name} must be at least 1 (got {value})")
        if not self.noises or min(self.noises) < 0 or self.std < 0:
            raise ValueError(
                "LinearRegression: expected at least one noise, none negative, and std >= 0 "
                f"(got {self.noises} and {self.std})"
            )

    def sample(self, key: Key) -> LinearFunction:
        """A new function, or a uniformly random one of the pool."""
        if self.pool is None:
            return self._function(key)
        return self._function(self._pool_key(jax.random.randint(key, (), 0, self.pool)))

    def functions(self) -> LinearFunction:
        """All functions of the pool, with leading axis `[M]`.

        Raises:
            ValueError: `pool` is None.
        """
        if self.pool is None:
            raise ValueError("LinearRegression: functions needs a pool (got pool=None, expected pool >= 1)")
        return jax.vmap(lambda m: self._function(self._pool_key(m)))(jnp.arange(self.pool))

    def context(self, key: Key, task: LinearFunction, *, held_out: bool) -> Context:
        """A new sequence of the function; `held_out` has no effect."""
        key_x, key_noise = jax.random.split(key)
        xs = self.inputs.sample(key_x, (self.length, self.dimensions))
        ys = (xs @ task.weights + task.noise * jax.random.normal(key_noise, (self.length,)))[:, None]
        return Context(xs, jnp.concatenate([jnp.zeros_like(ys[:1]), ys[:-1]]), ys)

    def losses(
        self, task: LinearFunction, outputs: Float[Array, "T F"], targets: Float[Array, "T 1"]
    ) -> PositionLosses:
        """Losses and metrics of `criterion` at every position `[T]`."""
        return self.criterion(outputs, targets)

    def _pool_key(self, m: Array) -> Key:
        return jax.random.fold_in(jax.random.key(self.pool_seed), m)

    def _function(self, key: Key) -> LinearFunction:
        key_weights, key_noise = jax.random.split(key)
        weights = self.mean + self.std * jax.random.normal(key_weights, (self.dimensions,))
        return LinearFunction(weights, jax.random.choice(key_noise, jnp.array(self.noises)))


@dataclass(frozen=True, kw_only=True)
class OneStep:
    """Theory of y_hat = eta / N sum_i y_i x_i . x_q for labels y_i = w . x_i, where w ~ N(0, I).

    This is the prediction for the query x_q after one step of gradient descent from zero. x_q has the distribution of
    the x_i. With v = E x_i^2, m_4 = E x_i^4, A = X^T X / N and E tr A^2 = (d m_4 + d (d - 1) v^2 + (N - 1) d v^2) / N,
    the loss E 1/2 (y - y_hat)^2 is v / 2 (d - 2 eta d v + eta^2 E tr A^2). It is minimal at eta* = d v / E tr A^2.

    Attributes:
        dimensions: d.
        examples: N, examples in the context.
        inputs: distribution of x.

    Raises:
        ValueError: a size is below one.

    Paper: the setting of arXiv 2212.07677, section 3.
    Differs: the closed form is derived here; the paper finds eta by a search.
    """

    dimensions: int
    examples: int
    inputs: GaussianInputs | UniformInputs

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.examples < 1:
            raise ValueError(
                f"OneStep: expected dimensions >= 1 and examples >= 1 (got {self.dimensions} and {self.examples})"
            )

    @property
    def trace(self) -> float:
        """E tr A^2, the expected squared Frobenius norm of A = X^T X / N."""
        (v, fourth), d, n = self.inputs.moments(), self.dimensions, self.examples
        return d * (fourth + (d - 1) * v * v + (n - 1) * v * v) / n

    @property
    def step_size(self) -> float:
        """eta*, the step size that minimises the expected loss."""
        return self.dimensions * self.inputs.moments()[0] / self.trace

    def loss(self, step_size: float) -> float:
        """Expected loss E 1/2 (y - y_hat)^2 with step size eta; eta = 0 (predicting zero) gives d v / 2."""
        v, d = self.inputs.moments()[0], self.dimensions
        return 0.5 * v * (d - 2 * step_size * d * v + step_size**2 * self.trace)
