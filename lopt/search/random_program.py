"""Uniform random valid programs."""

from dataclasses import replace

import numpy as np

from lopt.search.constants import random_index
from lopt.search.mutate import Mutation
from lopt.search.program import Program, Type
from lopt.search.program.types import types_before


def random_program(
    rng: np.random.Generator, length: int, extras: tuple[str, ...] = ("m", "v"), mutation: Mutation | None = None
) -> Program:
    """A random valid program of `length` statements, each drawn as `Mutation` draws an insertion at the end.

    The update is one of the assigned variables of type T, drawn uniformly (the gradient if there is none); each extra
    variable returns the value of its own name.

    Args:
        rng: source of randomness.
        length: number of statements.
        extras: names of the extra variables.
        mutation: draws the statements; `Mutation()` by default.

    Raises:
        ValueError: a negative length.
    """
    if length < 0:
        raise ValueError(f"random_program: length must be >= 0 (got {length})")
    mutation = mutation or Mutation()
    program = Program(extras, (), ("g", *extras))
    for _ in range(length):
        new = mutation.random_statement(rng, program, len(program.statements))
        program = program.with_statements((*program.statements, new))
    bound = types_before(program, length)
    trees = sorted({s.target for s in program.statements if bound[s.target] == Type.T}) or ["g"]
    return replace(program, outputs=(trees[random_index(rng, len(trees))], *extras))
