"""Closed forms of optimizers: their fitness on what Lion did."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.search import Imitation, Program, parse, published

STEPS, SIZE = 12, 40


@functools.cache
def lion():
    """Weights, gradients and updates `[12, 40]` of a life under Lion."""
    rng, tx = np.random.default_rng(0), lopt.lion(1e-4, b1=0.9, b2=0.99, weight_decay=0.1)
    w = jnp.asarray(rng.normal(size=SIZE), jnp.float32)
    state, rows = tx.init(w), []
    for _ in range(STEPS):
        g = w + jnp.asarray(rng.normal(size=SIZE), jnp.float32)
        added, state = tx.update(g, state, w)
        rows.append((w, g, added))
        w = w + added
    return tuple(np.stack(x).astype(np.float64) for x in zip(*rows, strict=True))


def test_the_program_of_an_optimizer_costs_its_length():
    program = parse(published.LION)
    assert Imitation(*lion())(program) == pytest.approx(-7e-3, abs=1e-6)
    assert Imitation(*lion(), parsimony=0.0)(program) == pytest.approx(0.0, abs=1e-6)


def test_a_wrong_program_is_worth_less():
    mine = Imitation(*lion())
    nothing = parse("def train(w, g, lr): return g * 0.0")
    assert mine(nothing) == pytest.approx(-np.mean(mine.updates**2) / np.var(mine.updates) - 1e-3)
    assert mine(parse(published.LION.replace("0.9)", "0.1)"))) < mine(parse(published.LION)) - 0.1
    assert mine(parse("def train(w, g, lr): return log(g * 0.0)")) == -np.inf


def test_extra_variables_begin_as_zeros_and_last():
    ones = np.ones((3, 2))
    mine = Imitation(ones, ones, np.arange(6.0).reshape(3, 2))
    added = mine.updates_of(parse("def train(w, g, m, lr):\n    m = m + g * lr\n    return m, m"))
    np.testing.assert_array_equal(added, -np.array([[1, 1], [2, 2], [3, 3]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": np.zeros((3, 2))}, "one shape"),
        ({"updates": np.zeros((STEPS, SIZE))}, "must vary"),
        ({"updates": np.full((STEPS, SIZE), np.nan)}, "finite"),
        ({"parsimony": -1.0}, ">= 0"),
    ],
)
def test_bad_input_is_named(arguments, message):
    weights, gradients, updates = lion()
    with pytest.raises(ValueError, match=message):
        Imitation(**{"weights": weights, "gradients": gradients, "updates": updates} | arguments)


def test_programs_of_other_inputs_are_refused():
    with pytest.raises(ValueError, match="the weights and the gradient"):
        Imitation(*lion())(Program((), (), ("x",), ("x",)))
