"""Distributions of the initial token x_1 of a sequence, with all moments in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key


@runtime_checkable
class InitialDistribution(Protocol):
    """An exchangeable distribution of the initial token x_1, a real vector: permuting coordinates changes nothing."""

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1 with `dimensions` coordinates."""
        ...

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """The moment E prod_i x_{1, j_i}^{n_i} for distinct coordinates j_i and exponents n_i >= 1."""
        ...


@dataclass(frozen=True)
class GaussianInitial:
    """Gaussian initial token: x_1 ~ N(0, std^2 I)."""

    std: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        return self.std * jax.random.normal(key, (dimensions,))

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """std^{sum n_i} prod_i (n_i - 1)!! if all n_i are even, else zero."""
        if any(n % 2 for n in exponents):
            return 0.0
        return self.std ** sum(exponents) * math.prod(math.prod(range(1, n, 2)) for n in exponents)


@dataclass(frozen=True)
class SparseInitial:
    """Sparse initial token: x_1 is uniform on the 2d vectors scale e_j and -scale e_j.

    Paper: arXiv 2405.16845, example 4.1.
    """

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        key_coordinate, key_sign = jax.random.split(key)
        coordinate = jax.random.randint(key_coordinate, (), 0, dimensions)
        return self.scale * jax.random.rademacher(key_sign, (), float) * jax.nn.one_hot(coordinate, dimensions)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^n / d for a single even exponent n, else zero."""
        if len(exponents) > 1 or any(n % 2 for n in exponents):
            return 0.0
        return self.scale ** sum(exponents) / dimensions ** len(exponents)


@dataclass(frozen=True)
class SignInitial:
    """Rademacher initial token: independent coordinates, scale or -scale with equal probability."""

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        return self.scale * jax.random.rademacher(key, (dimensions,), float)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^{sum n_i} if all n_i are even, else zero."""
        return 0.0 if any(n % 2 for n in exponents) else self.scale ** sum(exponents)


@dataclass(frozen=True)
class ConstantInitial:
    """Deterministic initial token x_1 = scale (1, ..., 1), for scale = 1 the "full-one" token of arXiv 2405.16845."""

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        return jnp.full(dimensions, self.scale)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^{sum n_i}."""
        return self.scale ** sum(exponents)
