"""Kernels that are quadratic in the momentum: they penalise the parameters and do not constrain them."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.kernels.sums import absolute, largest, leafwise, total
from lopt.types import PyTree


@dataclass(frozen=True)
class HalfSquare:
    """K(m) = |m|_2^2 / 2: the map is m, which is momentum SGD with decoupled decay.

    K*(y) = |y|_2^2 / 2 everywhere: the decay is a ridge, lambda / 2 |x|_2^2.
    """

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: m itself."""
        return m

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_2^2 / 2."""
        return total(jnp.square, m) / 2

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y) = |y|_2^2 / 2."""
        return total(jnp.square, y) / 2

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Always 0: K* is finite everywhere."""
        return jnp.zeros(())


@dataclass(frozen=True)
class HalfL1Square:
    """K(m) = |m|_1^2 / 2 of the whole tree: the map is |m|_1 sign(m), steepest descent in the maximum norm.

    K*(y) = max |y_i|^2 / 2 everywhere: the decay penalises the square of the largest parameter.
    """

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: |m|_1 sign(m)."""
        size = absolute(m)
        return leafwise(lambda x: size * jnp.sign(x), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_1^2 / 2."""
        return jnp.square(absolute(m)) / 2

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y) = max |y_i|^2 / 2."""
        return jnp.square(largest(jnp.abs, y)) / 2

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Always 0: K* is finite everywhere."""
        return jnp.zeros(())


@dataclass(frozen=True)
class Quadratic:
    """K(m) = m' P m / 2 with a symmetric positive definite P: the map is P m, preconditioned momentum.

    K*(y) = y' P^-1 y / 2 everywhere. P is given as two functions, so that it can be diagonal, a Kronecker product or
    dense: `Quadratic(lambda m: jax.tree.map(jnp.multiply, d, m), lambda y: jax.tree.map(jnp.divide, y, d))`.

    Attributes:
        apply: m -> P m, a tree like m.
        solve: y -> P^-1 y, a tree like y; only `conjugate` uses it.
    """

    apply: Callable[[PyTree], PyTree]
    solve: Callable[[PyTree], PyTree]

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: P m, in the type of m."""
        return jax.tree.map(lambda p, x: p.astype(jnp.asarray(x).dtype), self.apply(m), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = m' P m / 2."""
        return total(jnp.multiply, m, self.apply(m)) / 2

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y) = y' P^-1 y / 2."""
        return total(jnp.multiply, y, self.solve(y)) / 2

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Always 0: K* is finite everywhere."""
        return jnp.zeros(())
