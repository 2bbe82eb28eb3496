"""Simplification of programs, with its algebraic rewrite rules, and pattern search over their constants.

The identities hold for real numbers: up to rounding, and up to the 1e-8 that `divide` adds. No rule removes a clipping
or an arcsine, since these change values.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite

import numpy as np

from lopt.search.dataflow import Graph, Rule, prune_loop
from lopt.search.functions import Type, broadcast
from lopt.search.hashing import canonical_hash
from lopt.search.mutate import MAX_CONSTANT
from lopt.search.program import Program, Statement, types_before, types_of

EVEN = ("abs", "square", "sqrt", "log", "log2", "log10", "cos", "cosh")
"""Even functions: f(-x) = f(x)."""


def _even(function: str) -> Rule:
    def rule(graph: Graph, args: tuple[int, ...]) -> int | None:
        inner = graph.args(args[0], "negative") or graph.args(args[0], "abs")
        return graph.call(function, *inner) if inner else None

    return rule


def _abs_of_square(graph: Graph, args: tuple[int, ...]) -> int | None:
    return args[0] if graph.args(args[0], "square") or graph.args(args[0], "sqrt") else None


def _root_of_square(graph: Graph, args: tuple[int, ...]) -> int | None:
    inner = graph.args(args[0], "square")
    return graph.call("abs", *inner) if inner else None


def _negative(graph: Graph, args: tuple[int, ...]) -> int | None:
    if inner := graph.args(args[0], "negative"):
        return inner[0]
    if inner := graph.args(args[0], "subtract"):
        return graph.call("subtract", inner[1], inner[0])
    coefficient, factors = _factors(graph, args[0])
    return None if coefficient == 1 else _product(graph, -coefficient, factors)


def _sign(graph: Graph, args: tuple[int, ...]) -> int | None:
    if graph.args(args[0], "sign"):
        return args[0]
    coefficient, factors = _factors(graph, args[0])
    if coefficient == 1 or coefficient == 0:
        return None
    inner = graph.call("sign", _product(graph, 1.0, factors))
    return inner if coefficient > 0 else graph.call("negative", inner)


def _add(graph: Graph, args: tuple[int, ...]) -> int | None:
    for x, y in (args, args[::-1]):
        if graph.number(x) == 0:
            return y
        if inner := graph.args(x, "negative"):
            return graph.call("subtract", y, *inner)
        inner = graph.args(x, "add")
        if graph.number(y) is not None and inner:
            for a, b in (inner, inner[::-1]):
                if graph.number(a) is not None:
                    return graph.call("add", b, graph.call("add", a, y))
    if args[0] == args[1]:
        return graph.call("multiply", graph.constant(2.0), args[0])
    return _common(graph, "add", args)


def _subtract(graph: Graph, args: tuple[int, ...]) -> int | None:
    x, y = args
    if graph.number(y) == 0:
        return x
    if graph.number(x) == 0:
        return graph.call("negative", y)
    if inner := graph.args(y, "negative"):
        return graph.call("add", x, *inner)
    return None if x == y else _common(graph, "subtract", args)


def _common(graph: Graph, function: str, args: tuple[int, ...]) -> int | None:
    """a b + a c = a (b + c), or the same for a difference; the constant of `a` is that of the first product."""
    (c, xs), (d, ys) = (_factors(graph, arg) for arg in args)
    shared = Counter(xs) & Counter(ys)
    remainders = [[*(Counter(factors) - shared).elements()] for factors in (xs, ys)]
    if not shared or not all(remainders) or c == 0 or not isfinite(d / c):
        return None
    inner = graph.call(function, _product(graph, 1.0, remainders[0]), _product(graph, d / c, remainders[1]))
    return graph.call("multiply", _product(graph, c, [*shared.elements()]), inner)


def _multiply(graph: Graph, args: tuple[int, ...]) -> int | None:
    x, y = args
    for a, b in (args, args[::-1]):
        if graph.number(a) == 1:
            return b
        if graph.number(a) == -1:
            return graph.call("negative", b)
        if graph.args(a, "sign") and graph.args(b, "abs") == graph.args(a, "sign"):
            return graph.args(a, "sign")[0]  # type: ignore[index]
    if x == y:
        return graph.call("square", x)
    (c, xs), (d, ys) = (_factors(graph, arg) for arg in args)
    if c == 1 or d == 1 or not isfinite(c * d):
        return None
    return _product(graph, c * d, [*xs, *ys])


def _divide(graph: Graph, args: tuple[int, ...]) -> int | None:
    """x / |x| = sign x, where x is any factor of the numerator."""
    denominator = graph.args(args[1], "abs")
    coefficient, factors = _factors(graph, args[0])
    if not denominator or denominator[0] not in factors:
        return None
    factors.remove(denominator[0])
    return _product(graph, coefficient, [*factors, graph.call("sign", *denominator)])


def _same(graph: Graph, args: tuple[int, ...]) -> int | None:
    return args[0] if args[0] == args[1] else None


def _interpolate(graph: Graph, args: tuple[int, ...]) -> int | None:
    """An interpolation of interpolations of the same two values is one interpolation of these values."""
    x, y, a = args
    weight = graph.number(a)
    if x == y:
        return x
    if weight is None:
        return None
    for value, end in ((x, 0.0), (y, 1.0)):
        if weight == end:
            return value if graph.type(value) == broadcast((graph.type(x), graph.type(y))) else None
    weights: dict[int, float] = {}
    for value, outer in ((x, 1.0 - weight), (y, weight)):
        for end, inner in _ends(graph, value):
            weights[end] = weights.get(end, 0.0) + outer * inner
    if len(weights) != 2 or {*weights} == {x, y}:
        return None
    (first, _), (second, last) = weights.items()
    return graph.call("interpolate", first, second, graph.constant(last))


def _ends(graph: Graph, value: int) -> list[tuple[int, float]]:
    """The values that a value interpolates, with their weights; the value itself with weight 1 otherwise."""
    inner = graph.args(value, "interpolate")
    weight = graph.number(inner[2]) if inner else None
    return [(value, 1.0)] if not inner or weight is None else [(inner[0], 1.0 - weight), (inner[1], weight)]


def _factors(graph: Graph, value: int, depth: int = 6) -> tuple[float, list[int]]:
    """The constant coefficient and the factors of a value; products nested deeper than `depth` are not expanded."""
    constant = graph.number(value)
    if constant is not None:
        return constant, []
    if depth and (inner := graph.args(value, "negative")):
        coefficient, factors = _factors(graph, inner[0], depth - 1)
        return -coefficient, factors
    if depth and (inner := graph.args(value, "multiply")):
        (c, xs), (d, ys) = (_factors(graph, arg, depth - 1) for arg in inner)
        return c * d, [*xs, *ys]
    return 1.0, [value]


def _product(graph: Graph, coefficient: float, factors: Sequence[int]) -> int:
    """The product of a constant and factors; scalars are multiplied first, so that few products are of trees."""
    scalar_first = sorted(factors, key=lambda value: (graph.type(value) == Type.T, graph.type(value) == Type.L, value))
    if not scalar_first:
        return graph.constant(coefficient)
    product, rest = scalar_first[0], scalar_first[1:]
    if coefficient != 1:
        product = graph.call("multiply", graph.constant(coefficient), product)
    for factor in rest:
        product = graph.call("multiply", product, factor)
    return product


RULES: Mapping[str, Sequence[Rule]] = {
    **{name: [_even(name)] for name in EVEN},
    "abs": [_abs_of_square, _even("abs")],
    "sqrt": [_root_of_square, _even("sqrt")],
    "negative": [_negative],
    "sign": [_sign],
    "add": [_add],
    "subtract": [_subtract],
    "multiply": [_multiply],
    "divide": [_divide],
    "max": [_same],
    "min": [_same],
    "interpolate": [_interpolate],
}
"""Rewrite rules by function name, in the order in which they are applied."""


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
