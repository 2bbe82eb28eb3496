"""Kernels that are a norm of all elements of the tree together: the parameters stay in a ball of the dual norm.

`PerLeaf` makes each of them one norm per leaf.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.sums import (
    absolute,
    greatest,
    indicator,
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

    K*(y) is zero in the ball |y|_q <= 1 with q = p / (p - 1), infinite outside. p near 1 is near `L1`; beyond 2 the
    greatest elements move most. `distance` is in the q-norm.

    Attributes:
        p: the exponent.

    Raises:
        ValueError: a p that is not above 1 (use `L1` for 1 and `LInf` for infinity).
    """

    p: ArrayLike

    def __post_init__(self) -> None:
        check_number("Lp", "p", self.p, above=1)

    def map(self, m: PyTree) -> PyTree:
        """sign(m) (|m| / |m|_p)^(p-1)."""
        scale = unit_scale(greatest(jnp.abs, m))
        relative = jax.tree.map(lambda x: x / scale, m)
        size = norm(relative, self.p)
        size = jnp.where(size > 0, size, 1.0)
        return jax.tree.map(
            lambda x, like: (jnp.sign(x) * root(jnp.abs(x) / size, self.p - 1)).astype(jnp.asarray(like).dtype),
            relative,
            m,
        )

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return norm(m, self.p)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the ball, in the q-norm."""
        return jnp.maximum(norm(y, self.p / (self.p - 1)) - 1, 0.0)


@dataclass(frozen=True)
class L2:
    """K(m) = |m|_2 of the whole tree: the map is m / |m|_2 (normalised momentum), and 0 at 0.

    K*(y) is zero in the ball |y|_2 <= 1, infinite outside.
    """

    def map(self, m: PyTree) -> PyTree:
        """m / |m|_2."""
        scale = unit_scale(greatest(jnp.abs, m))
        size = root(total(lambda x: jnp.square(x / scale), m))
        size = jnp.where(size > 0, size, 1.0)
        return leafwise(lambda x: x / scale / size, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return norm(m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the ball, in the 2-norm."""
        return jnp.maximum(norm(y) - 1, 0.0)


@dataclass(frozen=True)
class LInf:
    """K(m) = max |m_i| of the whole tree: the map is the sign at the greatest elements, which share a step of one.

    K*(y) is zero in the cross-polytope |y|_1 <= 1, infinite outside: greedy coordinate descent. `distance` is in
    the 1-norm.
    """

    def map(self, m: PyTree) -> PyTree:
        """sign(m) where |m| is greatest, divided by how many there are."""
        level = greatest(jnp.abs, m) * (1 - resolution(m))
        count = jnp.maximum(total(lambda x: jnp.abs(x) >= level, m), 1.0)
        return leafwise(lambda x: jnp.where(jnp.abs(x) >= level, jnp.sign(x) / count, 0.0), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return greatest(jnp.abs, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the cross-polytope, in the 1-norm."""
        return jnp.maximum(absolute(y) - 1, 0.0)
