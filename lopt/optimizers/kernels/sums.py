"""Sums and norms over the elements of a tree, in float32 or wider.

Norms are computed relative to the largest element, so that gradients of size 1e-30 or 1e30 neither underflow nor
overflow, and their derivatives are finite at zero. All operations are reductions or element-wise: nothing is flattened,
so that a sharded leaf keeps its sharding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.arguments import at_least_float32
from lopt.types import PyTree


def leafwise(f: Callable[[Array], Array], tree: PyTree) -> PyTree:
    """Apply `f` to every leaf in float32 or wider, and cast the result to the leaf's type."""
    return jax.tree.map(lambda x: f(at_least_float32(x)).astype(jnp.asarray(x).dtype), tree)


def total(f: Callable[..., Array], *trees: PyTree) -> Float[Array, ""]:
    """The sum of `f(leaf, ...)` over all elements of all leaves; corresponding leaves of several trees are its
    arguments."""
    leaves = zip(*map(jax.tree.leaves, trees), strict=True)
    return sum((jnp.sum(f(*map(at_least_float32, xs))) for xs in leaves), start=jnp.zeros(()))


def largest(f: Callable[[Array], Array], tree: PyTree) -> Float[Array, ""]:
    """The maximum of zero and of `f(leaf)` over all elements of all leaves."""
    parts = [jnp.max(f(at_least_float32(x)), initial=0.0) for x in jax.tree.leaves(tree)]
    return jnp.max(jnp.stack(parts)) if parts else jnp.zeros(())


def absolute(tree: PyTree) -> Float[Array, ""]:
    """The sum of absolute values over all elements, |x|_1."""
    return total(jnp.abs, tree)


def unit_scale(largest_value: Array) -> Array:
    """The divisor that makes the largest element, `largest_value`, equal to one; one if that is zero."""
    return jax.lax.stop_gradient(jnp.where(largest_value > 0, largest_value, 1.0))


def root(x: Array, power: Any = 0.5) -> Array:
    """`x ** power` for x >= 0, with derivative zero instead of infinity at zero."""
    return jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** power, 0.0)


def norm(tree: PyTree, p: Any = 2.0) -> Float[Array, ""]:
    """The p-norm of all elements of the tree, 1 <= p < infinity."""
    scale = unit_scale(largest(jnp.abs, tree))
    return scale * root(total(lambda x: root(jnp.abs(x) / scale, p), tree), 1 / p)


def resolution(tree: PyTree) -> float:
    """Relative difference up to which elements count as equal: two units in the last place of the coarsest leaf's type.

    A compiler may compute an element twice, in two loops, and round it differently. A comparison of an element with a
    maximum or a threshold that was found among the elements has to allow for that.
    """
    leaves = jax.tree.leaves(tree)
    return 2 * max((float(jnp.finfo(jnp.result_type(x)).eps) for x in leaves), default=0.0)


def indicator(distance: Float[Array, ""], inside: Any = 0.0) -> Float[Array, ""]:
    """`inside` in a convex set and infinity outside; distances up to the square root of the precision count as
    rounding."""
    slack = jnp.finfo(distance.dtype).eps ** 0.5
    return jnp.where(distance <= slack, inside, jnp.inf).astype(distance.dtype)
