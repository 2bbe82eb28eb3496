"""The constants of a program, moved uphill."""

from collections.abc import Callable

import numpy as np

from lopt.search.constants import LARGEST
from lopt.search.liveness import prune_loop
from lopt.search.program import Program, types_of

FIRST = 0.1
"""The first step, as a share of the constant."""
SMALLEST = 1e-2
"""Constants below this count as this large, so that zero can be left."""
LAST = 1e-6
"""It ends where all steps are below this share."""


def polish(program: Program, fitness: Callable[[Program], float], sweeps: int = 20) -> Program:
    """The live part of a program with constants that are at least as fit.

    A sweep tries a step up and one down for every constant in turn; steps grow where they help and shrink where
    neither does. Where a sweep has moved several constants, the whole move is tried again. The structure stays.

    Args:
        program: a valid program.
        fitness: larger is better; called up to 2 k + 1 times a sweep for k constants.
        sweeps: how many, at most.

    Raises:
        ValueError: a program that is not valid, or a negative number of sweeps.

    Paper: Hooke and Jeeves, "Direct search" solution of numerical and statistical problems (J. ACM 8, 1961).
    Differs: every constant has a step of its own.
    """
    if sweeps < 0:
        raise ValueError(f"polish: sweeps must be >= 0 (got {sweeps})")
    types_of(program)
    program = prune_loop(program)
    x = np.array(program.constants)
    best, steps = fitness(program), FIRST * np.maximum(np.abs(x), SMALLEST)
    for _ in range(sweeps):
        if np.all(np.abs(steps) < LAST * np.maximum(np.abs(x), SMALLEST)):
            break
        before = x.copy()
        for i in range(len(x)):
            for step in (steps[i], -steps[i]):
                moved = np.where(np.arange(len(x)) == i, x + step, x)
                if (value := fitness(_with_constants(program, moved))) > best:
                    x, best, steps[i] = moved, value, 1.5 * step
                    break
            else:
                steps[i] *= 0.4
        if np.sum(x != before) > 1 and (value := fitness(_with_constants(program, 2 * x - before))) > best:
            x, best = 2 * x - before, value
    return _with_constants(program, x)


def _with_constants(program: Program, values: np.ndarray) -> Program:
    """The same with other constants `[k]`, none too large."""
    return program.with_constants(np.clip(values, -LARGEST, LARGEST).tolist())
