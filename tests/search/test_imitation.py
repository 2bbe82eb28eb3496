"""Symbolic distillation of optimizers: fitness of programs against Lion's updates."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.search import Imitation, Program, parse, published

STEPS, SIZE = 12, 40


@functools.cache
def lion():
    """Weights, gradients and updates `[STEPS, SIZE]` of a trajectory of Lion."""
    rng, tx = np.random.default_rng(0), lopt.lion(1e-4, b1=0.9, b2=0.99, weight_decay=0.1)
    w = jnp.asarray(rng.normal(size=SIZE), jnp.float32)
    state, rows = tx.init(w), []
    for _ in range(STEPS):
        g = w + jnp.asarray(rng.normal(size=SIZE), jnp.float32)
        updates, state = tx.update(g, state, w)
        rows.append((w, g, updates))
        w = w + updates
    return tuple(np.stack(x).astype(np.float64) for x in zip(*rows, strict=True))


def test_the_fitness_of_the_closed_form_is_minus_the_cost_of_its_statements():
    program = parse(published.LION)
    assert Imitation(*lion())(program) == pytest.approx(-7e-3, abs=1e-6)
    assert Imitation(*lion(), parsimony=0.0)(program) == pytest.approx(0.0, abs=1e-6)


def test_other_programs_have_a_lower_fitness():
    fitness = Imitation(*lion())
    zero = parse("def train(w, g, lr): return g * 0.0")
    assert fitness(zero) == pytest.approx(-np.mean(fitness.updates**2) / np.var(fitness.updates) - 1e-3)
    assert fitness(parse(published.LION.replace("0.9)", "0.1)"))) < fitness(parse(published.LION)) - 0.1
    assert fitness(parse("def train(w, g, lr): return log(g * 0.0)")) == -np.inf


def test_extra_variables_start_at_zero_and_carry_over():
    ones = np.ones((3, 2))
    fitness = Imitation(ones, ones, np.arange(6.0).reshape(3, 2))
    updates = fitness.updates_of(parse("def train(w, g, m, lr):\n    m = m + g * lr\n    return m, m"))
    np.testing.assert_array_equal(updates, -np.array([[1, 1], [2, 2], [3, 3]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": np.zeros((3, 2))}, "one shape"),
        ({"updates": np.zeros((STEPS, SIZE))}, "must vary"),
        ({"updates": np.full((STEPS, SIZE), np.nan)}, "finite"),
        ({"parsimony": -1.0}, ">= 0"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    weights, gradients, updates = lion()
    with pytest.raises(ValueError, match=message):
        Imitation(**{"weights": weights, "gradients": gradients, "updates": updates} | arguments)


def test_programs_of_other_inputs_are_refused():
    with pytest.raises(ValueError, match="the weights and the gradient"):
        Imitation(*lion())(Program((), (), ("x",), ("x",)))
