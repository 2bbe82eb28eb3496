"""Shorter programs that do the same, or as well."""

from collections.abc import Callable, Iterator

from lopt.search.algebra import RULES
from lopt.search.graph import Graph
from lopt.search.hashing import canonical_hash
from lopt.search.liveness import prune_loop
from lopt.search.program import Program, Statement, Type, types_of
from lopt.search.program.types import types_before


def simplify(program: Program) -> Program:
    """The live part of a program, shortened by algebra that holds for real numbers.

    Constants are folded; double signs, products with one and sums with zero go; common factors move out; the square
    root of a square is an absolute value, m / |m| the sign of m; interpolations of interpolations become one where
    their values are two. (Lion's two moving averages are such a case.) The 1e-8 in `divide` counts as nothing. What
    comes out is never longer than what `prune_loop` gives.

    Raises:
        ValueError: a program that is not valid.
    """
    types_of(program)
    program = prune_loop(program)
    shorter = prune_loop(Graph(program, RULES).program())
    return shorter if len(shorter.statements) <= len(program.statements) else program


def shrink(program: Program, fitness: Callable[[Program], float], tolerance: float) -> Program:
    """The program without the live statements that its fitness does not need.

    A statement is taken out, or its value replaced by one of its arguments. Of all ways to do that to one statement
    the fittest is taken, as long as its fitness is at most `tolerance` below that of the program given; then from
    there again.

    Args:
        program: a valid program.
        fitness: larger is better; called once for every program that differs (`canonical_hash`).
        tolerance: the loss of fitness that is allowed over all steps together.

    Raises:
        ValueError: a program that is not valid, or a negative tolerance.

    Paper: arXiv 2302.06675, simplification of discovered programs, its second step.
    """
    if not tolerance >= 0:
        raise ValueError(f"shrink: tolerance must be >= 0 (got {tolerance})")
    program = simplify(program)
    known: dict[str, float] = {}

    def measured(candidate: Program) -> float:
        name = canonical_hash(candidate)
        if name not in known:
            known[name] = float(fitness(candidate))
        return known[name]

    least = measured(program) - tolerance
    while True:
        shorter = [p for p in map(simplify, _without_one(program)) if len(p.statements) < len(program.statements)]
        fit = {p: value for p in shorter if (value := measured(p)) >= least}
        if not fit:
            return program
        program = max(fit, key=lambda p: (fit[p], -len(p.statements)))


def _without_one(program: Program) -> Iterator[Program]:
    """Valid programs with one statement less, or with one that copies."""
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
