"""Evaluation of programs: training agrees with optax, does not depend on batching, and halves successively."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.search import from_program, parse, published
from lopt.search.population import Evaluator, Proxy, Rung, Skeleton, cosine
from lopt.search.population.evaluate import survivors
from tests.reference.ulps import assert_ulps

ADAMW = published.ADAMW.replace("0.001\n", "0.05\n")
GRADIENT_DESCENT = "def train(w, g, m, v, lr):\n    u = g * {}\n    return u, m, v\n"
DIVERGENT = "def train(w, g, m, v, lr):\n    u = w * -1e6\n    return u, m, v\n"
INFINITE = "def train(w, g, m, v, lr):\n    u = w - w\n    u = reciprocal(u)\n    return u, m, v\n"


def quadratic(steps=8):
    """A proxy with a noisy quadratic loss of five weights in two leaves; the score is minus the noiseless loss."""

    def value(params):
        return (jnp.square(params["a"] - 1).sum() + 10 * jnp.square(params["b"]).sum()) / 2

    return Proxy(
        init=lambda key: {"a": jax.random.normal(key, (3,)), "b": jnp.ones((2, 1))},
        batch=lambda key: jax.random.normal(key, (3,)),
        loss=lambda params, noise: value(params) + 0.1 * noise @ params["a"],
        score=lambda params: -value(params),
        steps=steps,
    )


@functools.cache
def evaluator(**options):
    return Evaluator(quadratic(), seeds=(3, 4), lanes=4, threads=1, capacity=16, **options)


def optax_score(text, seed):
    """The score of the same learner, trained by the program's optax optimizer on the same minibatches."""
    proxy, tx = quadratic(), from_program(text, lambda i: cosine(i, 8))
    key_init, key_train = jax.random.split(jax.random.key(seed))

    def step(i, carry):
        params, state = carry
        g = jax.grad(proxy.loss)(params, proxy.batch(jax.random.fold_in(key_train, i)))
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    params = proxy.init(key_init)
    return proxy.score(jax.lax.fori_loop(0, 8, step, (params, tx.init(params)))[0])


def test_fitness_is_the_mean_score_of_learners_trained_with_optax():
    programs = [parse(text) for text in (ADAMW, GRADIENT_DESCENT.format(0.1), published.LION)]
    result = evaluator()(programs)
    assert result.finished.all() and result.updates == 3 * 2 * 8
    for text, fitness in zip((ADAMW, GRADIENT_DESCENT.format(0.1)), result.fitness, strict=False):
        np.testing.assert_allclose(fitness, np.mean([optax_score(text, seed) for seed in (3, 4)]), rtol=1e-5)
    np.testing.assert_allclose(result.scores[0], [optax_score(ADAMW, seed) for seed in (3, 4)], rtol=1e-5)


LANE_ULPS = 8 * 20
"""Tolerance between lanes in ulps: eight updates of some twenty roundings."""


def test_fitness_does_not_depend_on_batching_or_padding():
    programs = [parse(GRADIENT_DESCENT.format(rate)) for rate in (0.01, 0.02, 0.05, 0.1, 0.15)] + [parse(ADAMW)]
    expected = evaluator()(programs).fitness
    mixed = evaluator()([p for q in reversed(programs) for p in (q, parse(INFINITE))]).fitness
    assert_ulps(np.float32(mixed[::2][::-1]), np.float32(expected), LANE_ULPS)
    assert (mixed[1::2] == -np.inf).all()
    assert_ulps(np.float32([evaluator()([p]).fitness[0] for p in programs]), np.float32(expected), LANE_ULPS)


def test_divergent_and_too_long_programs_have_a_fitness_of_minus_infinity():
    long = parse(GRADIENT_DESCENT.format(0.1).replace("    return", "    u = u + u\n" * 20 + "    return"))
    result = evaluator()([parse(DIVERGENT), long, parse(INFINITE), parse(GRADIENT_DESCENT.format(0.1))])
    assert (result.fitness[:3] == -np.inf).all() and np.isfinite(result.fitness[3])
    np.testing.assert_array_equal(result.finished, [False, False, False, True])
    assert evaluator()([long]).updates == 0
    assert evaluator()([parse(DIVERGENT)]).fitness[0] == -np.inf


def test_a_rung_stops_the_worse_half_below_the_threshold():
    programs = [parse(GRADIENT_DESCENT.format(rate)) for rate in (0.001, 0.1, 0.002, 0.08)]
    whole = evaluator()(programs)
    halved = evaluator(rungs=(Rung(4),))(programs)
    np.testing.assert_array_equal(halved.finished, [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(halved.scores).all(1), ~halved.finished)
    np.testing.assert_array_equal(halved.scores.mean(1)[[1, 3]], halved.fitness[[1, 3]])
    assert_ulps(np.float32(halved.fitness[[1, 3]]), np.float32(whole.fitness[[1, 3]]), LANE_ULPS)
    assert (halved.fitness[[0, 2]] < whole.fitness[[0, 2]]).all()
    assert halved.updates == 4 * 4 + 2 * 4 + 2 * 8
    np.testing.assert_array_equal(survivors(np.array([-3.0, -1, -np.inf, -2]), Rung(1, 0.25)), [1])
    np.testing.assert_array_equal(survivors(np.array([-3.0, -1, -np.inf, -2]), Rung(1, 0.25, threshold=-3)), [0, 1, 3])
    np.testing.assert_array_equal(survivors(np.full(3, -np.inf), Rung(1, 1.0, threshold=-np.inf)), [])


def test_a_compiled_skeleton_gives_the_same_fitness():
    programs = [parse(ADAMW), parse(ADAMW.replace("0.05", "0.1").replace("0.9)", "0.8)"))]
    compiled = evaluator(interpreter=Skeleton(programs[0]))
    np.testing.assert_allclose(compiled(programs).fitness, evaluator()(programs).fitness, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quadratic(0), "steps >= 1"),
        (lambda: Evaluator(quadratic(), seeds=()), "expected seeds"),
        (lambda: Evaluator(quadratic(), lanes=0), "lanes >= 1"),
        (lambda: Evaluator(quadratic(), rungs=(Rung(8),)), "rungs must increase between 0 and 8"),
        (lambda: Evaluator(quadratic(), rungs=(Rung(4), Rung(2))), "rungs must increase"),
    ],
)
def test_invalid_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
