"""Sums and norms over the elements of a tree, in float32 or better.

Norms are taken relative to the greatest element, so that neither gradients of 1e-30 nor of 1e30 are lost, and their
derivatives are finite at zero. Everything is a reduction or works element by element: nothing is flattened, so a
sharded leaf stays where it is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import PyTree


def wide(x: Any) -> Array:
    """At least float32."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def leafwise(f: Callable[[Array], Array], tree: PyTree) -> PyTree:
    """`f` of every leaf, computed in float32 or better and given back in the leaf's type."""
    return jax.tree.map(lambda x: f(wide(x)).astype(jnp.asarray(x).dtype), tree)


def total(f: Callable[..., Array], *trees: PyTree) -> Float[Array, ""]:
    """The sum of `f(leaf, ...)` over all elements of all leaves."""
    leaves = zip(*map(jax.tree.leaves, trees), strict=True)
    return sum((jnp.sum(f(*map(wide, xs))) for xs in leaves), start=jnp.zeros(()))


def greatest(f: Callable[[Array], Array], tree: PyTree) -> Float[Array, ""]:
    """The maximum of zero and of `f(leaf)` over all elements of all leaves."""
    parts = [jnp.max(f(wide(x)), initial=0.0) for x in jax.tree.leaves(tree)]
    return jnp.max(jnp.stack(parts)) if parts else jnp.zeros(())


def absolute(tree: PyTree) -> Float[Array, ""]:
    """The sum of absolute values."""
    return total(jnp.abs, tree)


def unit_scale(big: Array) -> Array:
    """What to divide by so that the greatest element, `big`, becomes one; one where there is none."""
    return jax.lax.stop_gradient(jnp.where(big > 0, big, 1.0))


def root(x: Array, power: Any = 0.5) -> Array:
    """`x ** power` for x >= 0, with derivative zero (and not infinite) at zero."""
    return jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** power, 0.0)


def norm(tree: PyTree, p: Any = 2.0) -> Float[Array, ""]:
    """The p-norm of all elements together, 1 <= p < infinity."""
    scale = unit_scale(greatest(jnp.abs, tree))
    return scale * root(total(lambda x: root(jnp.abs(x) / scale, p), tree), 1 / p)


def resolution(tree: PyTree) -> float:
    """The relative difference up to which elements count as equal: two units in the last place of the coarsest leaf.

    A compiler may compute an element twice, in two loops, and round it differently; a comparison of an element with a
    maximum or a threshold that was found among them has to allow for it.
    """
    leaves = jax.tree.leaves(tree)
    return 2 * max((float(jnp.finfo(jnp.result_type(x)).eps) for x in leaves), default=0.0)


def indicator(distance: Float[Array, ""], inside: Any = 0.0) -> Float[Array, ""]:
    """`inside` in a convex set and infinity outside; a distance of the square root of the precision is rounding."""
    slack = jnp.finfo(distance.dtype).eps ** 0.5
    return jnp.where(distance <= slack, inside, jnp.inf).astype(distance.dtype)
