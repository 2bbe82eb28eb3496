"""Laws that numbers such as lifetimes and time limits are drawn from, each written as its quantile function.

A law is called with a number uniform on [0, 1), so that a level needs one bulk draw for all its numbers.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class Fixed:
    """Always `value` (>= 1)."""

    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"Fixed: value must be >= 1 (got {self.value})")

    @property
    def low(self) -> int:
        """The least value."""
        return self.value

    @property
    def high(self) -> int:
        """The greatest value."""
        return self.value

    def __call__(self, u: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The value, an int32, whatever u is."""
        return jnp.full_like(u, self.value, jnp.int32)


@dataclass(frozen=True)
class Uniform:
    """A whole number uniform on `low`, ..., `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"Uniform: need 1 <= low <= high (got {self.low}, {self.high})")

    def __call__(self, u: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The number at quantile u, an int32."""
        return jnp.clip(self.low + (u * (self.high - self.low + 1)).astype(jnp.int32), self.low, self.high)


@dataclass(frozen=True)
class LogUniform:
    """exp(U(log low, log high)) rounded to the nearest whole number, in `low`, ..., `high`."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"LogUniform: need 1 <= low <= high (got {self.low}, {self.high})")

    def __call__(self, u: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The number at quantile u, an int32."""
        value = log_uniform(u, float(self.low), float(self.high))
        return jnp.clip(jnp.round(value).astype(jnp.int32), self.low, self.high)


Law = Fixed | Uniform | LogUniform
"""A law of whole numbers."""


def log_uniform(u: Float[Array, "*n"], low: float, high: float) -> Float[Array, "*n"]:
    """The number at quantile u of the log-uniform law on [low, high]: low (high / low)^u."""
    return jnp.clip(jnp.exp(math.log(low) + u * (math.log(high) - math.log(low))), low, high)
