"""Rules that make less of a value without changing it.

They hold for real numbers: up to rounding, and up to the 1e-8 that `divide` adds. None takes away a clipping or an
arcsine, which change numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

from lopt.search.graph import Graph, Rule
from lopt.search.program import Type
from lopt.search.program.functions import broadcast

EVEN = ("abs", "square", "sqrt", "log", "log2", "log10", "cos", "cosh")
"""Functions that see no sign."""


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
    """a b + a c = a (b + c); a's constant is that of the first product."""
    (c, xs), (d, ys) = (_factors(graph, arg) for arg in args)
    common = Counter(xs) & Counter(ys)
    rests = [[*(Counter(factors) - common).elements()] for factors in (xs, ys)]
    if not common or not all(rests) or c == 0 or not isfinite(d / c):
        return None
    inner = graph.call(function, _product(graph, 1.0, rests[0]), _product(graph, d / c, rests[1]))
    return graph.call("multiply", _product(graph, c, [*common.elements()]), inner)


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
    """x / |x| = sign x, for any factor x above the line."""
    below = graph.args(args[1], "abs")
    coefficient, factors = _factors(graph, args[0])
    if not below or below[0] not in factors:
        return None
    factors.remove(below[0])
    return _product(graph, coefficient, [*factors, graph.call("sign", *below)])


def _same(graph: Graph, args: tuple[int, ...]) -> int | None:
    return args[0] if args[0] == args[1] else None


def _interpolate(graph: Graph, args: tuple[int, ...]) -> int | None:
    """Interpolations of two values, one inside the other or not, are one interpolation of the two."""
    x, y, a = args
    weight = graph.number(a)
    if x == y:
        return x
    if weight is None:
        return None
    for value, end in ((x, 0.0), (y, 1.0)):
        if weight == end:
            return value if graph.type(value) == broadcast((graph.type(x), graph.type(y))) else None
    shares: dict[int, float] = {}
    for value, share in ((x, 1.0 - weight), (y, weight)):
        for part, of in _parts(graph, value):
            shares[part] = shares.get(part, 0.0) + share * of
    if len(shares) != 2 or {*shares} == {x, y}:
        return None
    (first, _), (second, share) = shares.items()
    return graph.call("interpolate", first, second, graph.constant(share))


def _parts(graph: Graph, value: int) -> list[tuple[int, float]]:
    """What a value interpolates, and by which shares."""
    inner = graph.args(value, "interpolate")
    weight = graph.number(inner[2]) if inner else None
    return [(value, 1.0)] if not inner or weight is None else [(inner[0], 1.0 - weight), (inner[1], weight)]


def _factors(graph: Graph, value: int, depth: int = 6) -> tuple[float, list[int]]:
    """A value as a constant times a product, whose factors may be products again below some depth."""
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
    """A constant times a product; scalars meet the constant first, so that few trees are multiplied."""
    scalar_first = sorted(factors, key=lambda value: (graph.type(value) == Type.T, graph.type(value) == Type.L, value))
    if not scalar_first:
        return graph.constant(coefficient)
    made, rest = scalar_first[0], scalar_first[1:]
    if coefficient != 1:
        made = graph.call("multiply", graph.constant(coefficient), made)
    for factor in rest:
        made = graph.call("multiply", made, factor)
    return made


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
"""The rules of every function, in the order in which they are tried."""
