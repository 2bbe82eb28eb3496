"""Functions of pytrees whose leaves share a leading axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def where(mask: Bool[Array, "*n"], new: Any, old: Any) -> Any:
    """Leaf-wise `jnp.where(mask, new, old)`; the axes of `mask` are the leading axes of every leaf."""

    def select(a, b):
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(select, new, old)


def take(tree: Any, index: Any) -> Any:
    """Every leaf indexed by `index` along its leading axes."""
    return jax.tree.map(lambda x: x[index], tree)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all entries of all real leaves are finite."""
    real = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.array([jnp.isfinite(x).all() for x in real], bool).all()


def nan_unless_finite(value: Float[Array, ""], tree: Any) -> Float[Array, ""]:
    """`value`; NaN if an entry of a real leaf of `tree` is not finite."""
    return jnp.where(all_finite(tree), value, jnp.nan)


def canonical(tree: Any) -> Any:
    """The same values as arrays without weak types, so that a step that carries them is compiled once."""

    def strong(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if is_key else jax.lax.convert_element_type(leaf, leaf.dtype)

    return jax.tree.map(strong, tree)


def masked_map(f: Callable[..., Any], mask: Bool[Array, " N"], init: Any, *args: Any, pack: int = 8) -> Any:
    """`vmap(f)(*args)` in the rows where `mask` is true, `init` in the others, which are not computed.

    The selected rows are gathered into packs of `pack`, and a while loop runs as many packs as are needed: the cost is
    proportional to the number of selected rows, rounded up to a multiple of `pack`, and not to N.

    Args:
        f: function of one row of each of `args`; its result has the structure of a row of `init`.
        mask: the rows to compute.
        init: result of the other rows, leaves `[N, ...]`.
        *args: trees with leaves `[N, ...]`.
        pack: rows computed at once.
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
