"""Helpers for pytrees whose leaves share a leading axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def where(mask: Bool[Array, "*n"], new: Any, old: Any) -> Any:
    """Leaf-wise `new` where `mask`, else `old`; `mask` runs along the leading axes of every leaf."""

    def select(a, b):
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(select, new, old)


def take(tree: Any, index: Any) -> Any:
    """Rows `index` of every leaf."""
    return jax.tree.map(lambda x: x[index], tree)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every number in the tree is finite."""
    return jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def canonical(tree: Any) -> Any:
    """The same values as arrays that are not weakly typed, so that a carried state compiles once."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), tree)


def masked_map(f: Callable[..., Any], mask: Bool[Array, " N"], init: Any, *args: Any, pack: int = 8) -> Any:
    """`vmap(f)(*args)` for the rows where `mask`, the rows of `init` elsewhere, without work for the others.

    The selected rows are gathered into packs of `pack`; a while loop runs as many packs as are needed, so that the
    cost follows the number of selected rows and not N. `f` maps rows of `args` to a row of the same structure as
    `init`'s.
    """
    num = mask.shape[0]
    pack = min(pack, num)
    order = jnp.argsort(~mask, stable=True)
    # the last pack may be partly empty: its surplus rows are computed and dropped
    order = jnp.concatenate([order, jnp.full((pack,), num, order.dtype)])
    count = mask.sum()

    def body(carry):
        i, out = carry
        index = jax.lax.dynamic_slice_in_dim(order, i, pack)
        rows = jax.vmap(f)(*take(args, jnp.minimum(index, num - 1)))
        # an index of num is out of bounds, and a scatter drops it
        index = jnp.where(i + jnp.arange(pack) < count, index, num)
        out = jax.tree.map(lambda o, r: o.at[index].set(r.astype(o.dtype), mode="drop"), out, rows)
        return i + pack, out

    return jax.lax.while_loop(lambda c: c[0] < count, body, (jnp.zeros((), count.dtype), init))[1]
