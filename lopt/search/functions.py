"""The 45 functions of the program language: their types, and their implementation in numpy or jax.numpy."""

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

EPSILON = 1e-8
"""Number that `divide` adds to the divisor, and the value of `get_eps`."""


class Type(enum.IntEnum):
    """Type of a value: T is a tree shaped like the weights, S a scalar, L one scalar per leaf of the weights."""

    T = 0
    S = 1
    L = 2


Signature = tuple[Type, ...]
T, S, L = Type.T, Type.S, Type.L


@dataclass(frozen=True)
class Function:
    """A function of the language.

    Attributes:
        name: its name in programs.
        arity: number of arguments.
        signatures: the admissible argument types, each with the type of the result.
        evaluate: `(xp, *values) -> value`, where a T or an L is a tuple of one array per leaf, an S an array `[]`, and
            `xp` is numpy, jax.numpy, or an object with their elementwise functions and their `sum`.
        commutative: whether its two arguments can be exchanged.
    """

    name: str
    arity: int
    signatures: Mapping[Signature, Type]
    evaluate: Callable[..., Any]
    commutative: bool = False


def leafwise(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f(xp, *arrays)` mapped over the leaves; scalars are broadcast to all leaves."""

    def lifted(xp: Any, *values: Any) -> Any:
        trees = [value for value in values if type(value) is tuple]
        if not trees:
            return f(xp, *values)
        if len(values) == 1:
            return tuple([f(xp, x) for x in trees[0]])
        leaves = [value if type(value) is tuple else (value,) * len(trees[0]) for value in values]
        return tuple([f(xp, *xs) for xs in zip(*leaves, strict=True)])

    return lifted


def dot(xp: Any, x: Any, y: Any) -> Any:
    """sum x y, over all elements of all leaves."""
    return sum(xp.sum(a * b) for a, b in zip(x, y, strict=True))


def global_norm(xp: Any, x: Any) -> Any:
    """sqrt(sum x^2), over all elements of all leaves."""
    return xp.sqrt(dot(xp, x, x))


def cosine_sim(xp: Any, x: Any, y: Any) -> Any:
    """The cosine of the angle between x and y; NaN where one of them is zero."""
    return dot(xp, x, y) / (global_norm(xp, x) * global_norm(xp, y))


def clip_by_global_norm(xp: Any, x: Any, c: Any) -> Any:
    """x min(1, c / |x|)."""
    scale = xp.minimum(1.0, c / global_norm(xp, x))
    return tuple([leaf * scale for leaf in x])


def broadcast(types: Signature) -> Type:
    """The result type of a leafwise function: T if an argument is T, else L if an argument is L, else S."""
    return T if T in types else L if L in types else S


def _leafwise(name: str, arity: int, f: Callable[..., Any], commutative: bool = False) -> Function:
    signatures = {types: broadcast(types) for types in product(Type, repeat=arity)}
    return Function(name, arity, signatures, leafwise(f), commutative)


def _unary(name: str, f: Callable[..., Any] | None = None) -> Function:
    """A function of one array; by default the array library's function of the same name."""
    return _leafwise(name, 1, f or (lambda xp, x: getattr(xp, name)(x)))


def _functions() -> list[Function]:
    interpolations: dict[Signature, Type] = {(x, y, S): broadcast((x, y)) for x, y in product(Type, repeat=2)}
    library_functions = (
        *("abs", "sign", "negative", "square", "cbrt", "exp", "exp2", "expm1", "sin", "cos", "tan"),
        *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    )
    return [
        _leafwise("add", 2, lambda xp, x, y: x + y, commutative=True),
        _leafwise("subtract", 2, lambda xp, x, y: x - y),
        _leafwise("multiply", 2, lambda xp, x, y: x * y, commutative=True),
        _leafwise("divide", 2, lambda xp, x, y: x / (y + EPSILON)),
        _leafwise("max", 2, lambda xp, x, y: xp.maximum(x, y), commutative=True),
        _leafwise("min", 2, lambda xp, x, y: xp.minimum(x, y), commutative=True),
        *(_unary(name) for name in library_functions),
        _unary("cube", lambda xp, x: x * x * x),
        _unary("sqrt", lambda xp, x: xp.sqrt(xp.abs(x))),
        _unary("reciprocal", lambda xp, x: 1.0 / x),
        _unary("exp10", lambda xp, x: xp.power(10.0, x)),
        _unary("log", lambda xp, x: xp.log(xp.abs(x))),
        _unary("log2", lambda xp, x: xp.log2(xp.abs(x))),
        _unary("log10", lambda xp, x: xp.log10(xp.abs(x))),
        _unary("log1p", lambda xp, x: xp.log(xp.abs(1.0 + x))),
        Function("invert", 1, {}, lambda xp, x: xp.invert(x)),
        Function("power", 2, {(S, S): S}, lambda xp, x, y: xp.power(x, y)),
        Function("norm", 1, {(T,): L}, lambda xp, x: tuple([xp.sqrt(xp.sum(a * a)) for a in x])),
        Function("global_norm", 1, {(T,): S, (L,): S}, global_norm),
        Function("dot", 2, {(T, T): S, (L, L): S}, dot, commutative=True),
        Function("cosine_sim", 2, {(T, T): S, (L, L): S}, cosine_sim, commutative=True),
        Function("clip_by_global_norm", 2, {(T, S): T}, clip_by_global_norm),
        Function("interpolate", 3, interpolations, leafwise(lambda xp, x, y, a: (1.0 - a) * x + a * y)),
        Function("get_pi", 0, {(): S}, lambda xp: xp.asarray(math.pi)),
        Function("get_e", 0, {(): S}, lambda xp: xp.asarray(math.e)),
        Function("get_eps", 0, {(): S}, lambda xp: xp.asarray(EPSILON)),
    ]


FUNCTIONS: Mapping[str, Function] = {function.name: function for function in _functions()}
"""The 45 functions by name.

They differ from numpy's as follows: `divide` is a / (b + 1e-8), whatever the sign of b; `sqrt`, `log`, `log2`, `log10`
are applied to the absolute value, and `log1p` is log|1 + x|; `cosine_sim` and `clip_by_global_norm` have no epsilon;
`interpolate` is (1 - a) x + a y. `norm` is the only function that returns an L from a T. `invert` is defined for
integers, so it has no signature in this language.

Paper: arXiv 2302.06675, with the functions of google/automl's `hero`.
Differs: `cbrt` works (in the published code it fails for all arguments, as in `STRICT`); `interpolate` checks that its
    third argument is the scalar (the published code checks the first); reductions of scalars are omitted, since they
    are products.
"""

STRICT: Mapping[str, Function] = {**FUNCTIONS, "cbrt": Function("cbrt", 1, {}, FUNCTIONS["cbrt"].evaluate)}
"""`FUNCTIONS` as published, where `cbrt` has no signature."""

SHORT = {"interp": "interpolate", "clip": "clip_by_global_norm"}
"""Abbreviations of function names in the paper's listings."""

INFIX = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
"""Functions written as infix operators."""
