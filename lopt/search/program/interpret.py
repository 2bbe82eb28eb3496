"""Interpretation of a program on the host."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lopt.search.program.functions import FUNCTIONS
from lopt.search.program.program import Program

Leaves = Sequence[Any]
"""The leaves of a tree like the weights."""


def evaluator(xp: Any, program: Program) -> Callable[[dict[str, Any]], list[Any]]:
    """The program as a function from its parameters' values, by name, to its list of outputs.

    Args:
        xp: numpy, jax.numpy, or a library with the same functions.
        program: a valid program. Trees are tuples of leaves and scalars are arrays, as in `Function.evaluate`.
    """
    calls = [
        (
            statement.target,
            FUNCTIONS[statement.function].evaluate,
            [(None, arg) if isinstance(arg, str) else (xp.asarray(arg), "") for arg in statement.args],
        )
        for statement in program.statements
    ]

    def evaluate(bound: dict[str, Any]) -> list[Any]:
        values = dict(bound)
        for target, function, args in calls:
            values[target] = function(xp, *[values[name] if name else constant for constant, name in args])
        return [values[name] for name in program.outputs]

    return evaluate


def interpret(
    program: Program, w: Leaves, g: Leaves, extras: Sequence[Leaves], lr: Any
) -> tuple[tuple[np.ndarray, ...], tuple[tuple[np.ndarray, ...], ...]]:
    """One step of a program in numpy, in float64.

    Args:
        program: a valid program.
        w: leaves of the weights.
        g: leaves of the gradient.
        extras: leaves of each extra variable.
        lr: value of the learning-rate schedule.

    Returns:
        The leaves of the update, and those of each extra variable's new value.

    Raises:
        ValueError: another number of extra variables than the program has.
    """
    if len(extras) != len(program.extras):
        raise ValueError(f"interpret: the program has {len(program.extras)} extra variables (got {len(extras)})")

    def tree(leaves: Leaves) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(leaf, np.float64) for leaf in leaves)

    trees = [tree(leaves) for leaves in (w, g, *extras)]
    bound = dict(zip(program.parameters, [*trees, np.asarray(lr, np.float64)], strict=True))
    with np.errstate(all="ignore"):
        update, *after = evaluator(np, program)(bound)
    return tree(update), tuple(tree(leaves) for leaves in after)
