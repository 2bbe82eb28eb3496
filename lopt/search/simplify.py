"""Simplification of programs, and pattern search over their constants."""

from collections.abc import Callable, Iterator

import numpy as np

from lopt.search.algebra import RULES
from lopt.search.dataflow import Graph, prune_loop
from lopt.search.functions import Type
from lopt.search.hashing import canonical_hash
from lopt.search.mutate import MAX_CONSTANT
from lopt.search.program import Program, Statement, types_before, types_of

DIGITS = (1, 2, 3, 4, 6)
"""Numbers of significant digits to which constants are rounded; the first that is precise enough is used."""


def simplify(program: Program) -> Program:
    """The live part of a program, simplified by identities of real numbers; never longer than that of `prune_loop`.

    Constants are folded. Double negation, products with one and sums with zero are removed. Common factors are factored
    out. sqrt(m m) becomes |m|, and m / |m| becomes sign(m). Nested interpolations of the same two values become one, as
    in Lion's two moving averages. The 1e-8 in `divide` is neglected.

    Raises:
        ValueError: a program that is not valid.
    """
    types_of(program)
    program = prune_loop(program)
    shorter = prune_loop(Graph(program, RULES).program())
    return shorter if len(shorter.statements) <= len(program.statements) else program


def shrink(program: Program, fitness: Callable[[Program], float], tolerance: float) -> Program:
    """The program after greedy deletion of the live statements that its fitness does not need.

    A step deletes one statement, or replaces its value by one of its arguments, and simplifies the result. Of all these
    programs the fittest one is kept; the steps end when each would lose more than `tolerance` in fitness relative to
    the original program.

    Args:
        program: a valid program.
        fitness: larger is better; evaluated once for each `canonical_hash`.
        tolerance: allowed loss of fitness over all steps together, in units of the fitness.

    Raises:
        ValueError: a program that is not valid, or a negative tolerance.

    Paper: arXiv 2302.06675 (second step of the simplification of discovered programs).
    """
    if not tolerance >= 0:
        raise ValueError(f"shrink: tolerance must be >= 0 (got {tolerance})")
    program = simplify(program)
    cache: dict[str, float] = {}

    def cached_fitness(candidate: Program) -> float:
        key = canonical_hash(candidate)
        if key not in cache:
            cache[key] = float(fitness(candidate))
        return cache[key]

    threshold = cached_fitness(program) - tolerance
    while True:
        shorter = [p for p in map(simplify, _without_one(program)) if len(p.statements) < len(program.statements)]
        accepted = {p: value for p in shorter if (value := cached_fitness(p)) >= threshold}
        if not accepted:
            return program
        program = max(accepted, key=lambda p: (accepted[p], -len(p.statements)))


def _without_one(program: Program) -> Iterator[Program]:
    """Valid programs with one statement deleted, or replaced by a copy of one of its arguments."""
    for i, (statement, result) in enumerate(zip(program.statements, types_of(program), strict=True)):
        deleted = program.with_statements(program.statements[:i] + program.statements[i + 1 :])
        if _is_valid(deleted):
            yield deleted
        bound = types_before(program, i)
        for arg in dict.fromkeys(statement.args):
            if (bound[arg] if isinstance(arg, str) else Type.S) == result:
                copy = Statement(statement.target, "multiply", (arg, 1.0))
                yield program.with_statements((*program.statements[:i], copy, *program.statements[i + 1 :]))


def _is_valid(program: Program) -> bool:
    try:
        types_of(program)
    except ValueError:
        return False
    return True


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


def round_constants(program: Program, fitness: Callable[[Program], float], max_loss: float) -> Program:
    """The program with constants rounded to the fewest of `DIGITS` that lose at most `max_loss` in fitness."""
    threshold = fitness(program) - max_loss
    for digits in DIGITS:
        candidate = program.with_constants([float(f"{x:.{digits}g}") for x in program.constants])
        if fitness(candidate) >= threshold:
            return candidate
    return program


def _with_constants(program: Program, values: np.ndarray) -> Program:
    """The program with constants `[k]`, clipped to +-`MAX_CONSTANT`."""
    return program.with_constants(np.clip(values, -MAX_CONSTANT, MAX_CONSTANT).tolist())
