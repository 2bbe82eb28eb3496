"""Pattern search over constants."""

import numpy as np
import pytest

from lopt.search import Distillation, canonical_hash, constants_of, parse, pattern_search, skeleton_hash


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
