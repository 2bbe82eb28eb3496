"""Pattern search over the constants of a program."""

from collections.abc import Callable

import numpy as np

from lopt.search.constants import MAX_CONSTANT
from lopt.search.liveness import prune_loop
from lopt.search.program import Program, types_of

INITIAL_STEP = 0.1
"""Initial step, relative to the scale of the constant."""
MIN_SCALE = 1e-2
"""Lower bound on the scale |constant|, so that a constant of zero can change."""
MIN_STEP = 1e-6
"""The search ends once all steps are below this, relative to the scale of their constants."""


def pattern_search(program: Program, fitness: Callable[[Program], float], sweeps: int = 20) -> Program:
    """The live part of a program with constants improved by pattern search; its fitness is not lower than before.

    A sweep evaluates, for each constant in turn, one step up and then, if that does not improve the fitness, one step
    down. A step that improves the fitness grows by 1.5; it shrinks to 0.4 of itself if neither direction improves it.
    After a sweep that changed several constants, the same joint change is evaluated once more (the pattern move). The
    program's structure is kept.

    Args:
        program: a valid program.
        fitness: larger is better; evaluated up to 2 k + 1 times per sweep for k constants.
        sweeps: maximum number of sweeps.

    Raises:
        ValueError: a program that is not valid, or a negative number of sweeps.

    Paper: Hooke and Jeeves, "Direct search" solution of numerical and statistical problems (J. ACM 8, 1961).
    Differs: each constant has its own step size.
    """
    if sweeps < 0:
        raise ValueError(f"pattern_search: sweeps must be >= 0 (got {sweeps})")
    types_of(program)
    program = prune_loop(program)
    x = np.array(program.constants)
    best, steps = fitness(program), INITIAL_STEP * np.maximum(np.abs(x), MIN_SCALE)
    for _ in range(sweeps):
        if np.all(np.abs(steps) < MIN_STEP * np.maximum(np.abs(x), MIN_SCALE)):
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
    """The program with constants `[k]`, clipped to +-`MAX_CONSTANT`."""
    return program.with_constants(np.clip(values, -MAX_CONSTANT, MAX_CONSTANT).tolist())
