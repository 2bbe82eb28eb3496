"""Linear regression to be learned in context: from a prior or from a pool of functions, with noise of unknown size."""

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
"""From outputs and targets of a sequence to losses and metrics at every position."""
LOG_STD_LIMIT = 5.0


@runtime_checkable
class Inputs(Protocol):
    """A distribution of independent inputs with independent coordinates."""

    def sample(self, key: Key, shape: tuple[int, int]) -> Float[Array, "T X"]:
        """Inputs of a sequence."""
        ...


@dataclass(frozen=True)
class GaussianInputs:
    """x_i ~ N(0, scales_i^2); a single scale is that of every coordinate."""

    scales: Sequence[float] = (1.0,)

    def sample(self, key: Key, shape: tuple[int, int]) -> Float[Array, "T X"]:
        """Inputs of a sequence."""
        return jax.random.normal(key, shape) * jnp.broadcast_to(jnp.array(self.scales), shape)

    def moments(self) -> tuple[float, float]:
        """E x_i^2 and E x_i^4 of the first coordinate."""
        return self.scales[0] ** 2, 3 * self.scales[0] ** 4


@dataclass(frozen=True)
class UniformInputs:
    """x_i ~ U(-width / 2, width / 2)."""

    width: float = 1.0

    def sample(self, key: Key, shape: tuple[int, int]) -> Float[Array, "T X"]:
        """Inputs of a sequence."""
        return jax.random.uniform(key, shape, minval=-self.width / 2, maxval=self.width / 2)

    def moments(self) -> tuple[float, float]:
        """E x_i^2 and E x_i^4."""
        return self.width**2 / 12, self.width**4 / 80


def squared_errors(outputs: Float[Array, "T 1"], targets: Float[Array, "T 1"]) -> PositionLosses:
    """(y - y_hat)^2."""
    return jnp.square(targets - outputs)[:, 0], {}


def mean_and_std(outputs: Float[Array, "T 2"]) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    """y_hat and sigma_hat: the second output is log sigma_hat, kept within 5 of zero."""
    return outputs[:, 0], jnp.exp(jnp.clip(outputs[:, 1], -LOG_STD_LIMIT, LOG_STD_LIMIT))


def gaussian_losses(outputs: Float[Array, "T 2"], targets: Float[Array, "T 1"]) -> PositionLosses:
    """log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2), least for the mean and variance of y given all before it.

    Paper: arXiv 2405.15115, equation of the bi-objective loss.
    """
    mean, std = mean_and_std(outputs)
    error = jnp.square(targets[:, 0] - mean)
    return jnp.log(std) + error / (2 * jnp.square(std)), {"squared_error": error, "std": std}


class LinearFunction(struct.PyTreeNode):
    """y = w . x + sigma eps."""

    weights: Float[Array, "*n X"]
    noise: Float[Array, "*n"]


@dataclass(frozen=True)
class LinearRegression:
    """y_t = w . x_t + sigma eps_t with eps_t ~ N(0, 1), w ~ N(mean, std^2 I), sigma uniform on `noises`.

    With a `pool`, the functions are that many draws from this prior, always the same ones for one `pool_seed`.

    Attributes:
        dimensions: of x.
        length: T, examples of a sequence.
        noises: values of sigma, equally likely; one of them for noise of a known size.
        std: standard deviation of the weights.
        mean: mean of every weight.
        inputs: distribution of x.
        criterion: `squared_errors` (outputs y_hat) or `gaussian_losses` (outputs y_hat, log sigma_hat).
        pool: M, the number of functions; None for a new one every time.
        pool_seed: which functions.

    Raises:
        ValueError: a size below one, no or negative noises, or a `std` that is negative.

    Paper: arXiv 2208.01066 (noise-free regression), 2306.15063 (pools), 2405.15115 (unknown noise). Differs: one token
    per example where a model reads concat(x_t, y_{t-1}); the distribution of sigma is ours.
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
        """A new function, or one of the pool."""
        if self.pool is None:
            return self._function(key)
        return self._function(self._member(jax.random.randint(key, (), 0, self.pool)))

    def functions(self) -> LinearFunction:
        """The whole pool, `[M]`.

        Raises:
            ValueError: there is no pool.
        """
        if self.pool is None:
            raise ValueError("LinearRegression: there is no pool (expected pool >= 1)")
        return jax.vmap(lambda m: self._function(self._member(m)))(jnp.arange(self.pool))

    def context(self, key: Key, task: LinearFunction, *, held_out: bool) -> Context:
        """A sequence; every one is new, held out or not."""
        key_x, key_noise = jax.random.split(key)
        xs = self.inputs.sample(key_x, (self.length, self.dimensions))
        ys = (xs @ task.weights + task.noise * jax.random.normal(key_noise, (self.length,)))[:, None]
        return Context(xs, jnp.concatenate([jnp.zeros_like(ys[:1]), ys[:-1]]), ys)

    def losses(
        self, task: LinearFunction, outputs: Float[Array, "T F"], targets: Float[Array, "T 1"]
    ) -> PositionLosses:
        """Those of the criterion."""
        return self.criterion(outputs, targets)

    def _member(self, m: Array) -> Key:
        return jax.random.fold_in(jax.random.key(self.pool_seed), m)

    def _function(self, key: Key) -> LinearFunction:
        key_weights, key_noise = jax.random.split(key)
        weights = self.mean + self.std * jax.random.normal(key_weights, (self.dimensions,))
        return LinearFunction(weights, jax.random.choice(key_noise, jnp.array(self.noises)))
