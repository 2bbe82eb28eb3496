"""Kernels that are one norm of all elements of the tree: the parameters converge to a ball of the dual norm.

`PerLeaf` applies such a norm to each leaf separately.
"""

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
