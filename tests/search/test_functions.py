"""The 45 functions against Python's own arithmetic, and their signatures."""

import math
from itertools import product

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.search import FUNCTIONS, STRICT, Type, parse

T, S, L = Type.T, Type.S, Type.L
NAN = math.nan
POINTS = (-2.5, -1.0, -0.3, 0.0, 0.7, 1.0, 3.0)


def or_nan(f):
    """`f` with NaN outside its domain, where Python raises."""

    def total(*xs):
        try:
            return f(*xs)
        except ValueError:
            return NAN

    return total


def log(x):
    return math.log(x) if x > 0 else -math.inf


SCALAR = {
    "abs": lambda x: x if x > 0 else -x,
    "sign": lambda x: (x > 0) - (x < 0),
    "negative": lambda x: -x,
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "sqrt": lambda x: abs(x) ** 0.5,
    "cbrt": lambda x: math.copysign(abs(x) ** (1 / 3), x),
    "reciprocal": lambda x: 1 / x if x else math.inf,
    "exp": math.exp,
    "exp2": lambda x: 2.0**x,
    "exp10": lambda x: 10.0**x,
    "expm1": math.expm1,
    "log": lambda x: log(abs(x)),
    "log2": lambda x: log(abs(x)) / math.log(2),
    "log10": lambda x: log(abs(x)) / math.log(10),
    "log1p": lambda x: log(abs(1 + x)),
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "arcsin": or_nan(math.asin),
    "arccos": or_nan(math.acos),
    "arctan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "arcsinh": math.asinh,
    "arccosh": or_nan(math.acosh),
    "arctanh": or_nan(lambda x: math.copysign(math.inf, x) if abs(x) == 1 else math.atanh(x)),
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y + 1e-8),
    "max": max,
    "min": min,
    "power": lambda x, y: NAN if x < 0 and y % 1 else math.inf if x == 0 > y else x**y,
    "interpolate": lambda x, y, a: (1 - a) * x + a * y,
    "get_pi": lambda: 3.141592653589793,
    "get_e": lambda: 2.718281828459045,
    "get_eps": lambda: 1e-8,
}
REDUCTIONS = {"norm", "global_norm", "dot", "cosine_sim", "clip_by_global_norm"}


def evaluate(name, *values, xp=np):
    with np.errstate(all="ignore"):
        return FUNCTIONS[name].evaluate(xp, *values)


def test_there_are_45_functions():
    assert len(FUNCTIONS) == 45
    assert {*SCALAR} | REDUCTIONS | {"invert"} == {*FUNCTIONS}
    assert all(len(types) == f.arity for f in FUNCTIONS.values() for types in f.signatures)


@pytest.mark.parametrize("name", SCALAR)
def test_values_agree_with_python(name):
    for xs in product(POINTS, repeat=FUNCTIONS[name].arity):
        expected = SCALAR[name](*xs)
        np.testing.assert_allclose(evaluate(name, *map(np.float64, xs)), expected, rtol=1e-12, atol=1e-15)
        got = evaluate(name, *map(jnp.float32, xs), xp=jnp)
        np.testing.assert_allclose(got, np.float32(expected), rtol=2e-5, atol=1e-6)


def test_edge_cases():
    assert evaluate("sign", np.float64(0.0)) == 0
    assert np.isposinf(evaluate("divide", np.float64(1.0), np.float64(-1e-8)))
    assert evaluate("divide", np.float64(1.0), np.float64(0.0)) == pytest.approx(1e8, rel=1e-15)
    assert np.isnan(evaluate("max", np.float64(NAN), np.float64(1.0)))
    zero, x = (np.zeros(2),), (np.ones(2),)
    assert np.isnan(evaluate("cosine_sim", zero, x))
    np.testing.assert_array_equal(evaluate("clip_by_global_norm", zero, np.float64(0.5))[0], 0)


def test_reductions_are_over_all_leaves_except_for_norm():
    x, y = (np.array([[3.0, 0.0], [0.0, 4.0]]), np.array(12.0)), (np.ones((2, 2)), np.array(-1.0))
    assert evaluate("norm", x) == (5.0, 12.0)
    assert evaluate("global_norm", x) == 13
    assert evaluate("dot", x, y) == -5
    np.testing.assert_allclose(evaluate("cosine_sim", x, y), -5 / (13 * math.sqrt(5)), rtol=1e-14)
    for clip, factor in ((6.5, 0.5), (26.0, 1.0), (-13.0, -1.0)):
        got = evaluate("clip_by_global_norm", x, np.float64(clip))
        np.testing.assert_allclose(got[0], factor * x[0], rtol=1e-14)
        np.testing.assert_allclose(got[1], factor * x[1], rtol=1e-14)


def test_scalars_and_per_leaf_scalars_are_broadcast():
    x, norms, s = (np.ones((2, 3)), np.full(4, 2.0)), (np.float64(10.0), np.float64(20.0)), np.float64(0.5)
    got = evaluate("multiply", x, norms)
    np.testing.assert_array_equal(got[0], np.full((2, 3), 10.0))
    np.testing.assert_array_equal(got[1], np.full(4, 40.0))
    assert evaluate("subtract", s, norms) == (-9.5, -19.5)
    np.testing.assert_array_equal(evaluate("interpolate", x, norms, s)[1], np.full(4, 11.0))


VALUES = {
    T: (np.array([[0.3, -0.2], [0.5, 0.1]]), np.array([0.7, 0.2, -0.4])),
    S: np.float64(0.6),
    L: (np.float64(0.2), np.float64(-0.9)),
}


def type_of_value(value):
    return S if not isinstance(value, tuple) else T if value[0].ndim else L


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_have_the_types_of_the_signatures(name):
    for types, result in FUNCTIONS[name].signatures.items():
        got = evaluate(name, *(VALUES[type] for type in types))
        assert type_of_value(got) == result, types
        shapes = [np.shape(x) for x in (got if isinstance(got, tuple) else [got])]
        assert shapes == [np.shape(x) for x in (VALUES[result] if result != S else [0.0])]


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if f.commutative])
def test_commutative_functions_commute(name):
    for types in FUNCTIONS[name].signatures:
        x, y = (VALUES[type] for type in types)
        assert FUNCTIONS[name].signatures[types[::-1]] == FUNCTIONS[name].signatures[types]
        chex.assert_trees_all_close(evaluate(name, x, y), evaluate(name, y, x), rtol=1e-15)


def test_functions_that_fail_in_the_published_code():
    assert not FUNCTIONS["invert"].signatures and not STRICT["cbrt"].signatures
    assert FUNCTIONS["cbrt"].signatures
    with pytest.raises(ValueError, match="integers only"):
        parse("def train(w, g, lr): return invert(g)")


def test_scalars_do_not_widen_trees_in_jax():
    x = (jnp.ones((2, 3), jnp.float32),)
    with jax.enable_x64(True):
        for name in ("multiply", "max", "interpolate"):
            values = [x, x, jnp.asarray(0.3)][-FUNCTIONS[name].arity :]
            assert evaluate(name, *values, xp=jnp)[0].dtype == jnp.float32
