"""How a sequence starts: distributions of x_1 with all their moments in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key


@runtime_checkable
class Start(Protocol):
    """A distribution of real vectors that does not tell its coordinates apart."""

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """x_1."""
        ...

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """E prod_i x_{1, j_i}^{n_i} over distinct coordinates j_i, with the exponents n_i >= 1."""
        ...


@dataclass(frozen=True)
class GaussianStart:
    """x_1 ~ N(0, std^2 I)."""

    std: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """x_1."""
        return self.std * jax.random.normal(key, (dimensions,))

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """std^n times the product of (n_i - 1)!! where all are even."""
        if any(n % 2 for n in exponents):
            return 0.0
        return self.std ** sum(exponents) * math.prod(math.prod(range(1, n, 2)) for n in exponents)


@dataclass(frozen=True)
class SparseStart:
    """x_1 uniform on the 2d vectors scale e_j and -scale e_j.

    Paper: arXiv 2405.16845, example 4.1.
    """

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """x_1."""
        key_place, key_sign = jax.random.split(key)
        place = jax.random.randint(key_place, (), 0, dimensions)
        return self.scale * jax.random.rademacher(key_sign, (), float) * jax.nn.one_hot(place, dimensions)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^n / d where one coordinate alone has an even exponent."""
        if len(exponents) > 1 or any(n % 2 for n in exponents):
            return 0.0
        return self.scale ** sum(exponents) / dimensions ** len(exponents)


@dataclass(frozen=True)
class SignStart:
    """Independent coordinates, scale or -scale with equal probability."""

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """x_1."""
        return self.scale * jax.random.rademacher(key, (dimensions,), float)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^n where all exponents are even."""
        return 0.0 if any(n % 2 for n in exponents) else self.scale ** sum(exponents)


@dataclass(frozen=True)
class ConstantStart:
    """x_1 = scale (1, ..., 1), always."""

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """x_1."""
        return jnp.full(dimensions, self.scale)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^n."""
        return self.scale ** sum(exponents)
