"""Algebraic simplification keeps the function, for each rule and for random programs; shrinking keeps the fitness."""

import functools

import numpy as np
import pytest

from lopt.search import (
    Distillation,
    Mutation,
    canonical_hash,
    constants_of,
    fingerprint,
    interpret,
    one,
    parse,
    pattern_search,
    prune_loop,
    published,
    shrink,
    simplify,
    skeleton_hash,
    types_of,
)
from tests.reference.programs import candidates, flat, jittered, random_programs, tree, updates


def text(*lines, extras=""):
    names = ", ".join(["w", "g", *extras, "lr"])
    return parse(f"def train({names}):\n    " + "\n    ".join(lines))


RULES = {
    "g * 1.0": "g",
    "1.0 * g + 0.0": "g",
    "g - 0.0": "g",
    "0.0 - g": "negative(g)",
    "-(-g)": "g",
    "-(g - w)": "w - g",
    "g + -w": "g - w",
    "-g + w": "w - g",
    "g - -w": "g + w",
    "g + g": "2.0 * g",
    "-1.0 * g": "negative(g)",
    "g * g": "square(g)",
    "sqrt(g * g)": "abs(g)",
    "sqrt(abs(-g))": "sqrt(g)",
    "abs(square(g))": "square(g)",
    "log(-g)": "log(g)",
    "cosh(abs(g))": "cosh(g)",
    "g / sqrt(g * g)": "sign(g)",
    "(g * lr) / sqrt(g * g)": "lr * sign(g)",
    "sign(g) * abs(g)": "g",
    "sign(sign(3.0 * g))": "sign(g)",
    "sign(g * -2.0)": "negative(sign(g))",
    "2.0 * (3.0 * g)": "6.0 * g",
    "(g * 2.0) * (lr * 0.25)": "(0.5 * lr) * g",
    "(-g) * (-w)": "g * w",
    "2.0 + (g + 3.0)": "g + 5.0",
    "g * lr + w * lr": "lr * (g + w)",
    "g * (0.5 * lr) - (0.5 * lr) * (0.1 * w)": "(0.5 * lr) * (g - 0.1 * w)",
    "g * sqrt(2.0)": "g * 1.4142135623730951",
    "max(g, g)": "g",
    "interp(g, g, lr)": "g",
    "interp(g, w, 1.0)": "w",
    "interp(g, interp(g, w, 0.5), 0.5)": "interp(g, w, 0.25)",
    "interp(interp(g, w, 0.5), w, 0.5)": "interp(g, w, 0.75)",
    "interp(interp(g, w, 0.25), interp(w, g, 0.25), 0.5)": "interp(g, w, 0.5)",
}


@pytest.mark.parametrize("original", RULES)
def test_rules(original):
    def program(expression):
        return text(f"return {expression}")

    simple = simplify(program(original))
    assert canonical_hash(simple) == canonical_hash(program(RULES[original]))
    assert len(simple.statements) <= len(program(RULES[original]).statements)
    actual, expected = (flat(*interpret(p, tree(1), tree(2), [], 0.3)) for p in (simple, program(original)))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "expression",
    [
        "g - g",
        "g * 0.0",
        "g / g",
        "interp(lr, g, 0.0)",
        "max(lr, g)",
        "arcsin(sin(g))",
        "clip(clip(g, 1.0), 2.0)",
        "1e300 * (1e300 * g)",
        "exp(1000.0) * g",
        "interp(interp(g, w, lr), w, 0.5)",
        "interp(interp(g, w, 0.5), square(g), 0.5)",
    ],
)
def test_expressions_without_an_identity_are_unchanged(expression):
    program = text(f"return {expression}")
    assert canonical_hash(simplify(program)) == canonical_hash(program)


def test_the_raw_lion_becomes_lion_with_its_clipping():
    simple = simplify(parse(published.LION_RAW))
    lion = text(
        "g = arcsin(clip(g, lr))",
        "u = sign(interp(g, v, 0.9))",
        "v = interp(g, v, 0.99819)",
        "u = (u + 0.4602 * w) * (0.0002172 * lr)",
        "return u, v",
        extras="v",
    )
    assert canonical_hash(simple) == canonical_hash(lion)
    assert len(simple.statements) == 9


ALGEBRAIC = ("add", "subtract", "multiply", "divide", "negative", "abs", "sign", "square", "sqrt", "interpolate", "max")


@functools.cache
def algebraic():
    """Pruned random programs of functions that have rewrite rules, with constants of one."""
    programs = random_programs(150, length=20, mutation=Mutation(functions=ALGEBRAIC, constant=one))
    return [p for p in dict.fromkeys(map(prune_loop, programs)) if len(p.statements) > 2]


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_random_programs_keep_their_function(every):
    shorter = 0
    for program in (*algebraic()[::every], *candidates()[::every]):
        simple = simplify(program)
        types_of(simple)
        assert len(simple.statements) <= len(program.statements)
        assert canonical_hash(simplify(simple)) == canonical_hash(simple)
        if simple == program:
            continue
        shorter += len(simple.statements) < len(program.statements)
        actual, expected = (flat(updates(p), ()) for p in (simple, program))
        with np.errstate(invalid="ignore"):
            differs = ~(np.isclose(actual, expected, rtol=1e-5, atol=1e-12, equal_nan=True))
        if differs.any():
            rng = np.random.default_rng(0)
            perturbed = [flat(updates(jittered(program, rng, 1e-7)), ())[differs] for _ in range(5)]
            with np.errstate(invalid="ignore"):
                spread = np.abs(perturbed - expected[differs]).max(0)
                close = np.abs(actual - expected)[differs] <= 10 * spread
            assert close[np.isfinite(spread)].all(), program
    assert shorter > 60 / every


def test_long_products_are_simplified_in_bounded_time():
    lines = ["a = g * w", "b = g * a"] + ["a = b * a", "b = a * b"] * 30
    program = text(*lines, "return b")
    assert len(simplify(program).statements) == 62


def test_invalid_arguments_are_refused():
    program = text("return exp(g)")
    with pytest.raises(ValueError, match="not bound"):
        simplify(program.with_argument(0, 0, "x"))
    with pytest.raises(ValueError, match="tolerance"):
        shrink(program, lambda p: 0.0, -1.0)


def test_shrinking_deletes_statements_that_the_fitness_does_not_need():
    program = text(
        "c = clip(g, 1e3)",
        "m = interp(c, m, 0.5)",
        "tiny = sin(w) * 0.00001",
        "u = sign(m) + tiny",
        "u = u * lr",
        "return u, m",
        extras="m",
    )
    target = text("m = interp(g, m, 0.5)", "u = sign(m) * lr", "return u, m", extras="m")
    evaluated = []

    def fitness(candidate):
        evaluated.append(candidate)
        return -max(np.abs(x - y).max() for x, y in zip(updates(candidate), updates(target), strict=True))

    assert canonical_hash(shrink(program, fitness, 1e-3)) == canonical_hash(target)
    assert len({canonical_hash(p) for p in evaluated}) == len(evaluated) < 40
    exact = shrink(program, fitness, 0.0)
    assert "clip" not in exact.text() and fitness(exact) >= fitness(program)


def test_without_tolerance_statements_that_the_fitness_needs_are_kept():
    program = parse(published.LION)
    result = shrink(program, lambda p: float(canonical_hash(p) == canonical_hash(program)), 0.0)
    assert canonical_hash(result) == canonical_hash(program)
    assert fingerprint(result) == fingerprint(prune_loop(program))


def fitness_of(a, b, c):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200))
    return Distillation(points=(x, y), target=a * np.tanh(b * x) + c * y)


def test_constants_become_those_of_the_target():
    fitness = fitness_of(0.7, 3.0, -0.2)
    initial = parse("def f(x, y, unit): return tanh(x * 1.0) * 1.0 + y * 0.0")
    result = pattern_search(initial, fitness, 100)
    assert skeleton_hash(result) == skeleton_hash(initial)
    np.testing.assert_allclose(sorted(constants_of(result).values()), [-0.2, 0.7, 3.0], rtol=1e-3)
    assert fitness(result) == pytest.approx(-5e-3, abs=1e-6)


def test_fitness_never_decreases_with_more_sweeps():
    fitness = fitness_of(0.7, 3.0, -0.2)
    initial = parse("def f(x, y, unit):\n    z = x * 5.0\n    return tanh(x * 2.0) - y * 0.3")
    values = [fitness(pattern_search(initial, fitness, sweeps)) for sweeps in (0, 1, 3, 9)]
    assert values == sorted(values) and values[0] == fitness(initial)


def test_a_program_without_constants_is_returned():
    program = parse("def f(x, y, unit): return x * y")
    assert canonical_hash(pattern_search(program, fitness_of(1.0, 1.0, 1.0))) == canonical_hash(program)
    with pytest.raises(ValueError, match="sweeps must be >= 0"):
        pattern_search(program, fitness_of(1.0, 1.0, 1.0), -1)
