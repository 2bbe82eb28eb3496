"""Laws that whole numbers such as lifetimes and time limits are drawn from."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.types import Key


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

    def __call__(self, key: Key) -> Int[Array, ""]:
        """The value, an int32; the key is not needed."""
        return jnp.asarray(self.value, jnp.int32)


@dataclass(frozen=True)
class Uniform:
    """A whole number uniform on `low`, ..., `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"Uniform: need 1 <= low <= high (got {self.low}, {self.high})")

    def __call__(self, key: Key) -> Int[Array, ""]:
        """One draw, an int32."""
        return jax.random.randint(key, (), self.low, self.high + 1, jnp.int32)


@dataclass(frozen=True)
class LogUniform:
    """exp(U(log low, log high)) rounded to the nearest whole number, in `low`, ..., `high`."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"LogUniform: need 1 <= low <= high (got {self.low}, {self.high})")

    def __call__(self, key: Key) -> Int[Array, ""]:
        """One draw, an int32."""
        value = log_uniform(key, (), float(self.low), float(self.high))
        return jnp.clip(jnp.round(value).astype(jnp.int32), self.low, self.high)


Law = Fixed | Uniform | LogUniform
"""A law of whole numbers."""


def log_uniform(key: Key, shape: tuple[int, ...], low: float, high: float) -> Float[Array, "..."]:
    """exp(U(log low, log high)) in [low, high], float32."""
    draws = jax.random.uniform(key, shape, minval=math.log(low), maxval=math.log(high))
    return jnp.clip(jnp.exp(draws), low, high)
