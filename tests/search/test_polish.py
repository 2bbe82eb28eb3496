"""Constants moved uphill."""

import numpy as np
import pytest

from lopt.search import Distillation, canonical_hash, constants_of, parse, polish, skeleton_hash


def goal(a, b, c):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200))
    return Distillation((x, y), a * np.tanh(b * x) + c * y)


def test_constants_become_those_of_the_target():
    fitness = goal(0.7, 3.0, -0.2)
    start = parse("def f(x, y, unit): return tanh(x * 1.0) * 1.0 + y * 0.0")
    found = polish(start, fitness, 100)
    assert skeleton_hash(found) == skeleton_hash(start)
    np.testing.assert_allclose(sorted(constants_of(found).values()), [-0.2, 0.7, 3.0], rtol=1e-3)
    assert fitness(found) == pytest.approx(-5e-3, abs=1e-6)


def test_it_never_gets_worse_and_goes_on():
    fitness = goal(0.7, 3.0, -0.2)
    start = parse("def f(x, y, unit):\n    z = x * 5.0\n    return tanh(x * 2.0) - y * 0.3")
    values = [fitness(polish(start, fitness, sweeps)) for sweeps in (0, 1, 3, 9)]
    assert values == sorted(values) and values[0] == fitness(start)


def test_nothing_to_move():
    program = parse("def f(x, y, unit): return x * y")
    assert canonical_hash(polish(program, goal(1.0, 1.0, 1.0))) == canonical_hash(program)
    with pytest.raises(ValueError, match="sweeps must be >= 0"):
        polish(program, goal(1.0, 1.0, 1.0), -1)
