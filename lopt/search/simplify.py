"""Simplification of programs: by algebra, which keeps the function, and by deletion, which keeps the fitness."""

from collections.abc import Callable, Iterator

from lopt.search.algebra import RULES
from lopt.search.graph import Graph
from lopt.search.hashing import canonical_hash
from lopt.search.liveness import prune_loop
from lopt.search.program import Program, Statement, Type, types_of
from lopt.search.program.types import types_before


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
