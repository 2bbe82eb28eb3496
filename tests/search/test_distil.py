"""Symbolic distillation of drifts: fitness of closed forms, their discovery, and their use as drifts."""

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
FUNCTIONS = ("add", "subtract", "multiply", "max", "min", "abs", "square", "exp", "log", "tanh", "negative")
INITIAL = Program((), (), ("r",), ("r", "A"))


@functools.cache
def points():
    rng = np.random.default_rng(0)
    return np.exp(rng.normal(size=200) * 0.5), rng.normal(size=200)


def values_of(drift):
    """The values of a drift without meta-parameters at the points."""
    r, A = points()
    values = drift((), jnp.log(r), jnp.asarray(A), Progress(jnp.int32(0), jnp.int32(1)))
    return np.asarray(values, float)


@functools.cache
def fitness(target, **settings):
    return Distillation(points=points(), target=values_of(target), violation=DriftValidity(*points()), **settings)


def test_expressions_evaluate_their_text():
    f = expression(parse("def f(x, unit): return exp(x) * unit + cube(x)", num_inputs=1))
    x = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(f(x), np.exp(x) + x**3, rtol=1e-14)
    with pytest.raises(ValueError, match="without extra variables"):
        expression(parse("def f(x, m, unit): return x, m", num_inputs=1))


def test_pointwise_functions_act_elementwise():
    """Values at a subset of the points equal those of the same points in the whole array."""
    rng, noise, x = np.random.default_rng(0), np.random.default_rng(1), np.linspace(-2, 2, 7)
    for _ in range(30):
        program = random_program(rng, 10, extras=(), mutation=Mutation(functions=POINTWISE))
        f = expression(program)
        values = f(x, x**2)
        assert values.shape == x.shape
        # numpy's functions may differ by some ulps between a vector and its remainder; random perturbations of all
        # values show how much the program amplifies them
        size = 1e-9
        perturbed = np.stack([expression(jittered(program, noise, size))(x, x**2) for _ in range(5)])
        with np.errstate(invalid="ignore"):
            amplified = np.abs(perturbed - values).max(0) / size
        assert_ulps(f(x[::2], x[::2] ** 2), values[::2], ulps=20, scale=amplified[::2])


def test_the_fitness_of_the_closed_form_is_minus_the_cost_of_its_statements():
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
def test_the_violation_of_a_drift(text, violation):
    f = expression(parse(f"def drift(r, A, t): return {text}"))
    actual = DriftValidity(*points())(f)
    assert actual == pytest.approx(violation, abs=1e-6) if violation is not None else actual > 0.3


def test_the_violation_has_three_terms():
    r, A = points()
    validity = DriftValidity(r, A)
    assert validity(lambda r, A: -((r - 1.0) ** 2)) == pytest.approx(np.mean((r - 1) ** 2))
    assert validity(lambda r, A: np.abs(A)) == pytest.approx(np.abs(A).mean())
    assert validity(lambda r, A: np.where(r == 1, 0.0, 10 + np.sign(r - 1) * 1e-4)) == pytest.approx(1.0)


def test_program_drifts_have_the_values_and_gradients_of_drifts():
    drift = ProgramDrift(parse(CLIP))
    assert isinstance(drift, Drift)
    np.testing.assert_allclose(values_of(drift), values_of(Clip()), rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda x: drift((), x, jnp.ones(()), Progress(jnp.int32(0), jnp.int32(1))))(jnp.float32(0.5))
    np.testing.assert_allclose(slopes, np.exp(0.5), rtol=1e-6)
    timed = ProgramDrift(parse("def drift(r, A, t): return square(r - 1) * t"))
    value = bind_drift(timed, (), Progress(jnp.int32(1), jnp.int32(4)))(jnp.log(jnp.full(2, 3.0)), jnp.ones(2))
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="r and A"):
        ProgramDrift(parse("def drift(r, lr): return r", num_inputs=1))


def evolve(fitness, steps, seed, population_size=50, tournament=5):
    """The best program of a minimal regularised evolution: each child replaces the oldest individual."""
    rng, mutation = np.random.default_rng(seed), Mutation(functions=FUNCTIONS, longest=8)
    population = collections.deque([(fitness(INITIAL), INITIAL)] * population_size)
    best = population[0]
    for _ in range(steps):
        entrants = [population[i] for i in rng.integers(population_size, size=tournament)]
        child = mutation(rng, max(entrants, key=lambda pair: pair[0])[1])
        population.append((fitness(child), child))
        population.popleft()
        best = max(best, population[-1], key=lambda pair: pair[0])
    return best[1]


@pytest.mark.slow
def test_evolution_finds_a_closed_form():
    """log(r)^2 is found from its values."""
    r, A = points()
    fitness = Distillation(points=(r, A), target=np.log(r) ** 2, violation=DriftValidity(r, A))
    result = max((shrink(evolve(fitness, 2000, seed), fitness, 1e-3) for seed in range(2)), key=fitness)
    assert canonical_hash(result) == canonical_hash(parse("def drift(r, A, t): return square(log(r))"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": np.zeros(200)}, "vary"),
        ({"target": np.full(200, np.nan)}, "finite"),
        ({"target": np.arange(3.0)}, "one length"),
        ({"weight": -1.0}, ">= 0"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**{"points": points(), "target": values_of(DPO())} | arguments)
