"""Closed forms of drifts: their fitness, what the search finds, and their use."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.objectives import DPO, Clip, Drift, bind_drift
from lopt.search import (
    POINTWISE,
    Distillation,
    DriftValidity,
    Mutation,
    Program,
    ProgramDrift,
    canonical_hash,
    expression,
    parse,
    random_program,
    shrink,
)
from lopt.types import Progress
from tests.reference.programs import jittered
from tests.reference.ulps import assert_ulps

CLIP = "def drift(r, A, t): return max((r - max(min(r, 1.2), 0.8)) * A, 0.0)"
FEW = ("add", "subtract", "multiply", "max", "min", "abs", "square", "exp", "log", "tanh", "negative")
START = Program((), (), ("r",), ("r", "A"))


@functools.cache
def points():
    rng = np.random.default_rng(0)
    return np.exp(rng.normal(size=200) * 0.5), rng.normal(size=200)


def of(drift):
    """The drift's values at the points."""
    r, A = points()
    values = drift((), jnp.log(r), jnp.asarray(A), Progress(jnp.int32(0), jnp.int32(1)))
    return np.asarray(values, float)


@functools.cache
def fitness(target, **settings):
    return Distillation(points(), of(target), DriftValidity(*points()), **settings)


def test_expressions_have_the_values_of_their_text():
    f = expression(parse("def f(x, unit): return exp(x) * unit + cube(x)", num_inputs=1))
    x = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(f(x), np.exp(x) + x**3, rtol=1e-14)
    with pytest.raises(ValueError, match="without extra variables"):
        expression(parse("def f(x, m, unit): return x, m", num_inputs=1))


def test_pointwise_functions_treat_every_point_alone():
    """The values at some points are those among all points."""
    rng, noise, x = np.random.default_rng(0), np.random.default_rng(1), np.linspace(-2, 2, 7)
    for _ in range(30):
        program = random_program(rng, 10, extras=(), mutation=Mutation(POINTWISE))
        f = expression(program)
        values = f(x, x**2)
        assert values.shape == x.shape
        # numpy's functions may differ by some ulps in a vector and its remainder; how much the program makes of that
        # is seen by moving every value at random
        size = 1e-9
        moved = np.stack([expression(jittered(program, noise, size))(x, x**2) for _ in range(5)])
        with np.errstate(invalid="ignore"):
            magnified = np.abs(moved - values).max(0) / size
        assert_ulps(f(x[::2], x[::2] ** 2), values[::2], ulps=20, scale=magnified[::2])


def test_the_closed_form_of_a_drift_costs_its_length():
    program = parse(CLIP)
    assert fitness(Clip())(program) == pytest.approx(-5e-3, abs=1e-6)
    assert fitness(Clip(), parsimony=0.0)(program) == pytest.approx(0.0, abs=1e-6)
    assert fitness(Clip(0.3), parsimony=0.0)(program) < -1e-4
    assert fitness(Clip())(parse("def drift(r, A, t): return log(A * 0.0)")) == -np.inf


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("square(r - 1.0)", 0.0),
        ("square(log(r) * A)", 0.0),
        ("square(r - 1.0) + 2.0", 2.0),
        ("min(square(r - 1.0) - 3.0, -3.0 * square(square(A)))", None),
        ("3.0 * (r - max(r, 1.0)) - 3.0 * (r - 1.0)", None),
        ("abs(A) + r - 1.0", None),
    ],
)
def test_validity(text, violation):
    f = expression(parse(f"def drift(r, A, t): return {text}"))
    found = DriftValidity(*points())(f)
    assert found == pytest.approx(violation, abs=1e-6) if violation is not None else found > 0.3


def test_validity_has_three_parts():
    r, A = points()
    validity = DriftValidity(r, A)
    assert validity(lambda r, A: -((r - 1.0) ** 2)) == pytest.approx(np.mean((r - 1) ** 2))
    assert validity(lambda r, A: np.abs(A)) == pytest.approx(np.abs(A).mean())
    assert validity(lambda r, A: np.where(r == 1, 0.0, 10 + np.sign(r - 1) * 1e-4)) == pytest.approx(1.0)


def test_the_program_of_a_drift_is_the_drift():
    drift = ProgramDrift(parse(CLIP))
    assert isinstance(drift, Drift)
    np.testing.assert_allclose(of(drift), of(Clip()), rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda x: drift((), x, jnp.ones(()), Progress(jnp.int32(0), jnp.int32(1))))(jnp.float32(0.5))
    np.testing.assert_allclose(slopes, np.exp(0.5), rtol=1e-6)
    timed = ProgramDrift(parse("def drift(r, A, t): return square(r - 1) * t"))
    value = bind_drift(timed, (), Progress(jnp.int32(1), jnp.int32(4)))(jnp.log(jnp.full(2, 3.0)), jnp.ones(2))
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="r and A"):
        ProgramDrift(parse("def drift(r, lr): return r", num_inputs=1))


def evolved(fitness, cycles, seed, population=50, tournament=5):
    """Regularised evolution in its smallest form: the oldest goes, a child of the best of a few comes."""
    rng, mutation = np.random.default_rng(seed), Mutation(FEW, longest=8)
    alive = collections.deque([(fitness(START), START)] * population)
    best = alive[0]
    for _ in range(cycles):
        drawn = [alive[i] for i in rng.integers(population, size=tournament)]
        child = mutation(rng, max(drawn, key=lambda pair: pair[0])[1])
        alive.append((fitness(child), child))
        alive.popleft()
        best = max(best, alive[-1], key=lambda pair: pair[0])
    return best[1]


@pytest.mark.slow
def test_evolution_finds_a_closed_form():
    """The square of the logarithm of r, from its values alone."""
    r, A = points()
    goal = Distillation((r, A), np.log(r) ** 2, DriftValidity(r, A))
    found = max((shrink(evolved(goal, 2000, seed), goal, 1e-3) for seed in range(2)), key=goal)
    assert canonical_hash(found) == canonical_hash(parse("def drift(r, A, t): return square(log(r))"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": np.zeros(200)}, "vary"),
        ({"target": np.full(200, np.nan)}, "finite"),
        ({"target": np.arange(3.0)}, "one length"),
        ({"weight": -1.0}, ">= 0"),
    ],
)
def test_targets_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**{"points": points(), "target": of(DPO())} | arguments)
