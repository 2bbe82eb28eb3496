"""What a statement can be: one operation for every function and kinds of its arguments."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from lopt.search.population.code import Layout
from lopt.search.program import FUNCTIONS, Type

Operation = tuple[str, tuple[Type, ...]]
"""A function with the kinds of its arguments."""

T, S, L = Type.T, Type.S, Type.L
REDUCTIONS = ("norm", "global_norm", "dot", "cosine_sim", "clip_by_global_norm")


def operation(function: str, types: tuple[Type, ...]) -> Operation:
    """The operation of a call.

    Where no argument is a tree and nothing is summed, a scalar is as good as the same scalar for every leaf.
    """
    narrow = T not in types and function not in REDUCTIONS
    return function, (L,) * len(types) if narrow else types


OPERATIONS: tuple[Operation, ...] = tuple(
    dict.fromkeys(operation(name, types) for name, f in FUNCTIONS.items() if f.arity for types in f.signatures)
)
"""All of them; a statement names one by its index."""


@functools.cache
def branches(layout: Layout) -> tuple[Callable[[Array, Array], Array], ...]:
    """For every operation a function from a file and three rows of it to the value, a row."""
    return tuple(functools.partial(_value, layout, *known) for known in OPERATIONS)


def _value(layout: Layout, name: str, types: tuple[Type, ...], file: Array, operands: Array) -> Array:
    args = [_load(layout, name, types, file, operands[i], type_) for i, type_ in enumerate(types)]
    value = FUNCTIONS[name].evaluate(jnp, *args)
    if type(value) is tuple:
        value = value[0] if len(value) == 1 else jnp.stack(value)
    if value.shape == (layout.width,) and T in types and name != "norm":
        return value
    value = jnp.broadcast_to(value, (layout.leaves,))
    return lax.pad(value, jnp.zeros((), value.dtype), [(0, layout.width - layout.leaves, 0)])


def _load(layout: Layout, name: str, types: tuple[Type, ...], file: Array, row: Array, type_: Type) -> Any:
    """An argument as `Function.evaluate` takes it, but for trees: the whole row is one leaf."""
    if type_ == T:
        whole = file[row]
        if name != "norm":
            return (whole,)
        starts = [sum(layout.sizes[:i]) for i in range(layout.leaves)]
        return tuple(whole[start : start + size] for start, size in zip(starts, layout.sizes, strict=True))
    if type_ == S:
        return file[row, 0]
    leaves = lax.dynamic_slice(file, (row, jnp.zeros_like(row)), (1, layout.leaves))[0]
    if T in types:
        return (leaves[layout.leaf_of],)
    return (leaves,) if name in REDUCTIONS else leaves
