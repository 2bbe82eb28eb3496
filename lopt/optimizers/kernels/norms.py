"""Kernels of norms and of squares of norms."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.sums import (
    absolute,
    indicator,
    largest,
    leafwise,
    norm,
    resolution,
    root,
    total,
    unit_scale,
)
from lopt.types import PyTree


@dataclass(frozen=True)
class Lp:
    """K(m) = |m|_p, 1 < p < infinity: the map is sign(m) |m|^(p-1) / |m|_p^(p-1), and 0 at 0.

    K*(y) is zero in the ball |y|_q <= 1 with q = p / (p - 1), infinite outside. For p near 1 the kernel is close to
    `L1`; for p > 2 the largest elements get the largest updates. `distance` is in the q-norm.

    Attributes:
        p: the exponent.

    Raises:
        ValueError: a p that is not above 1 (use `L1` for 1 and `LInf` for infinity).
    """

    p: ArrayLike

    def __post_init__(self) -> None:
        check_number("Lp", "p", self.p, above=1)

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: sign(m) (|m| / |m|_p)^(p-1)."""
        scale = unit_scale(largest(jnp.abs, m))
        relative = jax.tree.map(lambda x: x / scale, m)
        size = norm(relative, self.p)
        size = jnp.where(size > 0, size, 1.0)
        return jax.tree.map(
            lambda x, like: (jnp.sign(x) * root(jnp.abs(x) / size, self.p - 1)).astype(jnp.asarray(like).dtype),
            relative,
            m,
        )

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_p of the whole tree."""
        return norm(m, self.p)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where |y|_q <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the unit ball in the q-norm: max(|y|_q - 1, 0)."""
        return jnp.maximum(norm(y, self.p / (self.p - 1)) - 1, 0.0)


@dataclass(frozen=True)
class L2:
    """K(m) = |m|_2 of the whole tree: the map is m / |m|_2 (normalised momentum), and 0 at 0.

    K*(y) is zero in the ball |y|_2 <= 1, infinite outside.
    """

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: m / |m|_2."""
        scale = unit_scale(largest(jnp.abs, m))
        size = root(total(lambda x: jnp.square(x / scale), m))
        size = jnp.where(size > 0, size, 1.0)
        return leafwise(lambda x: x / scale / size, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_2 of the whole tree."""
        return norm(m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where |y|_2 <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the unit ball in the 2-norm: max(|y|_2 - 1, 0)."""
        return jnp.maximum(norm(y) - 1, 0.0)


@dataclass(frozen=True)
class LInf:
    """K(m) = max |m_i| of the whole tree: the map is sign(m_i) / count at the `count` largest |m_i|, which are tied.

    K*(y) is zero in the cross-polytope |y|_1 <= 1, infinite outside: greedy coordinate descent. `distance` is in the
    1-norm.
    """

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: sign(m) where |m| is largest, divided by the number of such elements; 0 elsewhere."""
        level = largest(jnp.abs, m) * (1 - resolution(m))
        count = jnp.maximum(total(lambda x: jnp.abs(x) >= level, m), 1.0)
        return leafwise(lambda x: jnp.where(jnp.abs(x) >= level, jnp.sign(x) / count, 0.0), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = max |m_i| of the whole tree."""
        return largest(jnp.abs, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where |y|_1 <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the cross-polytope in the 1-norm: max(|y|_1 - 1, 0)."""
        return jnp.maximum(absolute(y) - 1, 0.0)


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
