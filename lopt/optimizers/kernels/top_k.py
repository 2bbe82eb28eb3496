"""The k greatest elements, found without sorting."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.sums import absolute, greatest, indicator, total
from lopt.types import PyTree


@dataclass(frozen=True)
class TopK:
    """K(m) = sum of the k greatest |m_i| of the whole tree: the map is sign(m) there, and 0 elsewhere.

    Elements as great as the k-th share what is left of k equally, so that the map is in the set whatever ties there
    are. K*(y) is zero where max |y_i| <= 1 and |y|_1 <= k, infinite elsewhere: a box cut by an l1 ball, with at most
    k moves per step. `distance` is in the dual norm max(|y|_inf, |y|_1 / k).

    The k-th greatest is found by bisection on the floating-point bits: as many passes over the momentum as a float
    has bits, without sorting, gathering or flattening it.

    Attributes:
        k: how many elements move.

    Raises:
        ValueError: a k below one.
    """

    k: int

    def __post_init__(self) -> None:
        check_number("TopK", "k", self.k, least=1)

    def map(self, m: PyTree) -> PyTree:
        """sign(m) at the k greatest."""
        bits, kth = self._order(m)
        above, level = (_count(bits, lambda b, test=test: test(b, kth)) for test in (jnp.greater, jnp.equal))
        share = jnp.minimum((self.k - above) / jnp.maximum(level, 1), 1.0)

        def chosen(x, b):
            return (jnp.sign(x) * jnp.where(b > kth, 1.0, jnp.where(b == kth, share, 0.0))).astype(jnp.asarray(x).dtype)

        return jax.tree.map(chosen, m, bits)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return total(lambda x, y: x * y, m, jax.tree.map(lambda x: x, self.map(_wide(m))))

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """In the norm max(|y|_inf, |y|_1 / k)."""
        return jnp.maximum(jnp.maximum(greatest(jnp.abs, y), absolute(y) / self.k) - 1, 0.0)

    def _order(self, m: PyTree) -> tuple[PyTree, Int[Array, ""]]:
        """The bits of |m|, which are ordered as |m| is, and those of the k-th greatest (of 0 if there are fewer)."""
        size = jnp.finfo(jnp.result_type(jnp.float32, *jax.tree.leaves(m))).bits
        integer, floating = (jnp.dtype(f"{kind}{size}") for kind in ("int", "float"))
        bits = jax.tree.map(
            lambda x: jax.lax.bitcast_convert_type(jax.lax.stop_gradient(jnp.abs(x)).astype(floating), integer), m
        )

        def bit(i, kth):
            higher = kth | (jnp.ones((), integer) << (size - 2 - i))
            return jnp.where(_count(bits, lambda b: b >= higher) >= self.k, higher, kth)

        return bits, jax.lax.fori_loop(0, size - 1, bit, jnp.zeros((), integer))


def _count(bits: PyTree, test) -> Int[Array, ""]:
    return sum((jnp.sum(test(b), dtype=jnp.int32) for b in jax.tree.leaves(bits)), start=jnp.zeros((), jnp.int32))


def _wide(m: PyTree) -> PyTree:
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(m))
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), m)
