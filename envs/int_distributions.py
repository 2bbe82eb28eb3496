"""Distributions of integers (lengths of lifetimes, time limits), as quantile functions.

A distribution is called with numbers u uniform on [0, 1), so that one bulk draw serves all parameters of a level.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class Fixed:
    """The constant `value` >= 1."""

    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"Fixed: value must be >= 1 (got {self.value})")

    @property
    def low(self) -> int:
        """The smallest value."""
        return self.value

    @property
    def high(self) -> int:
        """The largest value."""
        return self.value

    def __call__(self, u: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The value as int32, for every u."""
        return jnp.full_like(u, self.value, jnp.int32)


@dataclass(frozen=True)
class Uniform:
    """Uniform on the integers `low`, ..., `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"Uniform: need 1 <= low <= high (got {self.low}, {self.high})")

    def __call__(self, u: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The quantile of order u, as int32."""
        return jnp.clip(self.low + (u * (self.high - self.low + 1)).astype(jnp.int32), self.low, self.high)


@dataclass(frozen=True)
class LogUniform:
    """Log-uniform on the integers `low`, ..., `high`: exp(U(log low, log high)), rounded."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"LogUniform: need 1 <= low <= high (got {self.low}, {self.high})")

    def __call__(self, u: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The quantile of order u, as int32."""
        value = log_uniform(u, float(self.low), float(self.high))
        return jnp.clip(jnp.round(value).astype(jnp.int32), self.low, self.high)


IntDistribution = Fixed | Uniform | LogUniform
"""A distribution of positive integers."""


def log_uniform(u: Float[Array, "*n"], low: float, high: float) -> Float[Array, "*n"]:
    """The quantile of order u of the log-uniform distribution on [low, high]: low (high / low)^u."""
    return jnp.clip(jnp.exp(math.log(low) + u * (math.log(high) - math.log(low))), low, high)
