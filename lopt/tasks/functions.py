"""Test functions to be minimised, with optional gradient noise."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.types import Key, Params, TaskLoss


class QuadraticParams(struct.PyTreeNode):
    """Parameters of a quadratic f(x) = 1/2 sum_i eigenvalues_i (basis_i . (x - minimum))^2.

    Attributes:
        eigenvalues: of the Hessian, `[n]`, largest first.
        basis: its eigenvectors, one per row, `[n, n]`.
        minimum: the minimiser, `[n]`.
    """

    eigenvalues: Float[Array, "*b n"]
    basis: Float[Array, "*b n n"]
    minimum: Float[Array, "*b n"]


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    """Quadratics with a fixed spectrum, random eigenvectors and a random minimum, drawn per level.

    The eigenvalues are `largest condition^(-i / (n - 1))` for i = 0, ..., n - 1, equally spaced on a logarithmic scale.
    The minimum is drawn from N(0, I). A minibatch adds noise xi ~ N(0, noise^2 I) to the gradient; the held-out loss
    has none.

    Attributes:
        dimensions: n.
        condition: condition number, the ratio of the largest to the smallest eigenvalue.
        largest: the largest eigenvalue.
        noise: standard deviation of the gradient noise in every coordinate.

    Raises:
        ValueError: `dimensions` or `condition` is below one, `largest` is not positive, or `noise` is negative.
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

    def sample(self, key: Key) -> QuadraticParams:
        """A quadratic with random eigenvectors and a random minimum."""
        key_basis, key_minimum = jax.random.split(key)
        n = self.dimensions
        exponents = -jnp.arange(n) / max(n - 1, 1)
        basis = jnp.linalg.qr(jax.random.normal(key_basis, (n, n)))[0]
        return QuadraticParams(self.largest * self.condition**exponents, basis, jax.random.normal(key_minimum, (n,)))

    def init(self, key: Key, variation: QuadraticParams) -> Params:
        """Initial parameters `{"x": x}` with x ~ N(0, I), `[n]`."""
        return {"x": jax.random.normal(key, (self.dimensions,))}

    def batch(self, key: Key, variation: QuadraticParams, *, held_out: bool) -> Float[Array, " n"]:
        """The gradient noise xi of one minibatch; zero for held-out data."""
        return _noise(key, self.dimensions, 0.0 if held_out else self.noise)

    def loss(self, variation: QuadraticParams, params: Params, batch: Any) -> TaskLoss:
        """f(x) + xi . (x - minimum), without metrics or optimizer arguments."""
        displacement = params["x"] - variation.minimum
        value = 0.5 * (variation.eigenvalues * jnp.square(variation.basis @ displacement)).sum()
        return value + batch @ displacement, ({}, {})


@dataclass(frozen=True)
class Rosenbrock:
    """The Rosenbrock function f(x) = mean_i [ 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 ]; its minimum is at (1, ..., 1).

    Initial parameters are drawn from N(0, 1/4 I). A minibatch adds noise xi ~ N(0, noise^2 I) to the gradient; the
    held-out loss has none.

    Attributes:
        dimensions: number of coordinates of x, at least two.
        noise: standard deviation of the gradient noise in every coordinate.

    Raises:
        ValueError: `dimensions` is below two, or `noise` is negative.
    """

    dimensions: int = 2
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.dimensions < 2 or self.noise < 0:
            raise ValueError(
                f"Rosenbrock: expected dimensions >= 2 and noise >= 0 (got {self.dimensions} and {self.noise})"
            )

    def sample(self, key: Key) -> Any:
        """`()`: there is a single task instance."""
        return ()

    def init(self, key: Key, variation: Any) -> Params:
        """Initial parameters `{"x": x}` with x ~ N(0, 1/4 I), `[dimensions]`."""
        return {"x": 0.5 * jax.random.normal(key, (self.dimensions,))}

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> Float[Array, " n"]:
        """The gradient noise xi of one minibatch; zero for held-out data."""
        return _noise(key, self.dimensions, 0.0 if held_out else self.noise)

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """f(x) + xi . x, without metrics or optimizer arguments."""
        x = params["x"]
        value = (100 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1 - x[:-1])).mean()
        return value + batch @ x, ({}, {})


def _noise(key: Key, dimensions: int, std: float) -> Array:
    return std * jax.random.normal(key, (dimensions,)) if std else jnp.zeros(dimensions)
