"""Programs of nothing but chance."""

from dataclasses import replace

import numpy as np

from lopt.search.constants import below
from lopt.search.mutate import Mutation
from lopt.search.program import Program, Type
from lopt.search.program.types import types_before


def random_program(
    rng: np.random.Generator, length: int, extras: tuple[str, ...] = ("m", "v"), mutation: Mutation | None = None
) -> Program:
    """A program of so many random statements, each drawn as `Mutation` inserts at the end.

    The update is any of the trees that were assigned (the gradient if there are none), the extra variables keep
    their names.

    Raises:
        ValueError: a negative length.
    """
    if length < 0:
        raise ValueError(f"random_program: length must be >= 0 (got {length})")
    mutation = mutation or Mutation()
    program = Program(extras, (), ("g", *extras))
    for _ in range(length):
        new = mutation.statement(rng, program, len(program.statements))
        program = program.with_statements((*program.statements, new))
    bound = types_before(program, length)
    trees = sorted({s.target for s in program.statements if bound[s.target] == Type.T}) or ["g"]
    return replace(program, outputs=(trees[below(rng, len(trees))], *extras))
