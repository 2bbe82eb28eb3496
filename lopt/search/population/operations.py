"""Operations of the interpreter: one for each function and types of its arguments."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from lopt.search.population.code import Layout
from lopt.search.program import FUNCTIONS, Type

Operation = tuple[str, tuple[Type, ...]]
"""A function's name and the types of its arguments."""

T, S, L = Type.T, Type.S, Type.L
REDUCTIONS = ("norm", "global_norm", "dot", "cosine_sim", "clip_by_global_norm")


def operation(function: str, types: tuple[Type, ...]) -> Operation:
    """The operation of a call.

    If no argument is a tree and the function is not a reduction, scalars are treated as one scalar per leaf (L), which
    saves operations.
    """
    per_leaf = T not in types and function not in REDUCTIONS
    return function, (L,) * len(types) if per_leaf else types


OPERATIONS: tuple[Operation, ...] = tuple(
    dict.fromkeys(operation(name, types) for name, f in FUNCTIONS.items() if f.arity for types in f.signatures)
)
"""All operations; `Code.operations` holds indices into this tuple."""


@functools.cache
def branches(layout: Layout) -> tuple[Callable[[Array, Array], Array], ...]:
    """For each operation, a function `(registers [rows, P], operands [3]) -> value [P]`."""
    return tuple(functools.partial(_value, layout, *known) for known in OPERATIONS)


def _value(layout: Layout, name: str, types: tuple[Type, ...], registers: Array, operands: Array) -> Array:
    args = [_load(layout, name, types, registers, operands[i], type_) for i, type_ in enumerate(types)]
    value = FUNCTIONS[name].evaluate(jnp, *args)
    if type(value) is tuple:
        value = value[0] if len(value) == 1 else jnp.stack(value)
    if value.shape == (layout.width,) and T in types and name != "norm":
        return value
    value = jnp.broadcast_to(value, (layout.leaves,))
    return lax.pad(value, jnp.zeros((), value.dtype), [(0, layout.width - layout.leaves, 0)])


def _load(layout: Layout, name: str, types: tuple[Type, ...], registers: Array, row: Array, type_: Type) -> Any:
    """An argument of `Function.evaluate`; a tree is passed as one leaf (the whole row), except to `norm`."""
    if type_ == T:
        tree = registers[row]
        if name != "norm":
            return (tree,)
        starts = [sum(layout.sizes[:i]) for i in range(layout.leaves)]
        return tuple(tree[start : start + size] for start, size in zip(starts, layout.sizes, strict=True))
    if type_ == S:
        return registers[row, 0]
    leaves = lax.dynamic_slice(registers, (row, jnp.zeros_like(row)), (1, layout.leaves))[0]
    if T in types:
        return (leaves[layout.leaf_of],)
    return (leaves,) if name in REDUCTIONS else leaves
