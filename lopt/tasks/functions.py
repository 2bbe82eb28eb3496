"""Functions to be minimised, with or without noise in their gradients."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.types import Key, Params, TaskLoss


class Bowl(struct.PyTreeNode):
    """A quadratic: f(x) = 1/2 sum_i eigenvalues_i (basis_i . (x - minimum))^2."""

    eigenvalues: Float[Array, " n"]
    basis: Float[Array, "n n"]
    minimum: Float[Array, " n"]


@dataclass(frozen=True)
class Quadratic:
    """Quadratics of one spectrum, in random directions, with a random minimum.

    The eigenvalues are `largest condition^(-i / (n - 1))`: even on a logarithmic scale. A minibatch adds noise xi ~
    N(0, noise^2 I) to the gradient; held out is the function itself.

    Attributes:
        dimensions: n.
        condition: ratio of the largest to the smallest eigenvalue.
        largest: the largest eigenvalue.
        noise: standard deviation of the gradient's noise in every coordinate.

    Raises:
        ValueError: fewer than one dimension, a `condition` below one, a `largest` that is not positive, or negative
            noise.
    """

    dimensions: int = 10
    condition: float = 100.0
    largest: float = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.condition < 1 or self.largest <= 0 or self.noise < 0:
            raise ValueError(
                "Quadratic: expected dimensions >= 1, condition >= 1, largest > 0 and noise >= 0 (got "
                f"{self.dimensions}, {self.condition}, {self.largest} and {self.noise})"
            )

    def sample(self, key: Key) -> Bowl:
        """Directions and minimum."""
        key_basis, key_minimum = jax.random.split(key)
        n = self.dimensions
        exponents = -jnp.arange(n) / max(n - 1, 1)
        basis = jnp.linalg.qr(jax.random.normal(key_basis, (n, n)))[0]
        return Bowl(self.largest * self.condition**exponents, basis, jax.random.normal(key_minimum, (n,)))

    def init(self, key: Key, variation: Bowl) -> Params:
        """x ~ N(0, I)."""
        return {"x": jax.random.normal(key, (self.dimensions,))}

    def batch(self, key: Key, variation: Bowl, *, held_out: bool) -> Float[Array, " n"]:
        """xi."""
        return _noise(key, self.dimensions, 0.0 if held_out else self.noise)

    def loss(self, variation: Bowl, params: Params, batch: Any) -> TaskLoss:
        """f(x) + xi . (x - minimum)."""
        away = params["x"] - variation.minimum
        value = 0.5 * (variation.eigenvalues * jnp.square(variation.basis @ away)).sum()
        return value + batch @ away, ({}, {})


@dataclass(frozen=True)
class Rosenbrock:
    """f(x) = mean_i [ 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 ], from x ~ N(0, 1/4); the minimum is at ones.

    Attributes:
        dimensions: of x, at least two.
        noise: standard deviation of the gradient's noise in every coordinate; held out is the function itself.

    Raises:
        ValueError: fewer than two dimensions, or negative noise.
    """

    dimensions: int = 2
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.dimensions < 2 or self.noise < 0:
            raise ValueError(
                f"Rosenbrock: expected dimensions >= 2 and noise >= 0 (got {self.dimensions} and {self.noise})"
            )

    def sample(self, key: Key) -> Any:
        """There is one."""
        return ()

    def init(self, key: Key, variation: Any) -> Params:
        """x."""
        return {"x": 0.5 * jax.random.normal(key, (self.dimensions,))}

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> Float[Array, " n"]:
        """xi."""
        return _noise(key, self.dimensions, 0.0 if held_out else self.noise)

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """f(x) + xi . x."""
        x = params["x"]
        value = (100 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1 - x[:-1])).mean()
        return value + batch @ x, ({}, {})


def _noise(key: Key, dimensions: int, std: float) -> Array:
    return std * jax.random.normal(key, (dimensions,)) if std else jnp.zeros(dimensions)
