"""Evaluation of programs: the training loop is the plain one, companions do not matter, rungs stop the worse half."""

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
PLAIN = "def train(w, g, m, v, lr):\n    u = g * {}\n    return u, m, v\n"
LOST = "def train(w, g, m, v, lr):\n    u = w * -1e6\n    return u, m, v\n"
NOTHING = "def train(w, g, m, v, lr):\n    u = w - w\n    u = reciprocal(u)\n    return u, m, v\n"


def bowl(steps=8):
    """A noisy quadratic of five weights in two leaves; the score is minus its value."""

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
    return Evaluator(bowl(), seeds=(3, 4), lanes=4, threads=1, capacity=16, **options)


def by_hand(text, seed):
    """The score of a learner that optax trains, with the same minibatches."""
    proxy, tx = bowl(), from_program(text, lambda i: cosine(i, 8))
    key_birth, key_life = jax.random.split(jax.random.key(seed))

    def step(i, carry):
        params, state = carry
        g = jax.grad(proxy.loss)(params, proxy.batch(jax.random.fold_in(key_life, i)))
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    params = proxy.init(key_birth)
    return proxy.score(jax.lax.fori_loop(0, 8, step, (params, tx.init(params)))[0])


def test_fitness_is_the_mean_score_of_learners_that_optax_would_train():
    programs = [parse(text) for text in (ADAMW, PLAIN.format(0.1), published.LION)]
    found = evaluator()(programs)
    assert found.finished.all() and found.updates == 3 * 2 * 8
    for text, fitness in zip((ADAMW, PLAIN.format(0.1)), found.fitness, strict=False):
        np.testing.assert_allclose(fitness, np.mean([by_hand(text, seed) for seed in (3, 4)]), rtol=1e-5)
    np.testing.assert_allclose(found.scores[0], [by_hand(ADAMW, seed) for seed in (3, 4)], rtol=1e-5)


LANE = 8 * 20
"""What the lanes of a pack may differ by, in ulps: eight updates of some twenty roundings."""


def test_companions_padding_and_packs_do_not_matter():
    programs = [parse(PLAIN.format(rate)) for rate in (0.01, 0.02, 0.05, 0.1, 0.15)] + [parse(ADAMW)]
    together = evaluator()(programs).fitness
    mixed = evaluator()([p for q in reversed(programs) for p in (q, parse(NOTHING))]).fitness
    assert_ulps(np.float32(mixed[::2][::-1]), np.float32(together), LANE)
    assert (mixed[1::2] == -np.inf).all()
    assert_ulps(np.float32([evaluator()([p]).fitness[0] for p in programs]), np.float32(together), LANE)


def test_who_is_lost_or_too_long_is_worth_nothing():
    long = parse(PLAIN.format(0.1).replace("    return", "    u = u + u\n" * 20 + "    return"))
    found = evaluator()([parse(LOST), long, parse(NOTHING), parse(PLAIN.format(0.1))])
    assert (found.fitness[:3] == -np.inf).all() and np.isfinite(found.fitness[3])
    np.testing.assert_array_equal(found.finished, [False, False, False, True])
    assert evaluator()([long]).updates == 0
    assert evaluator()([parse(LOST)]).fitness[0] == -np.inf


def test_a_rung_stops_the_worse_half_but_for_who_is_good_enough():
    programs = [parse(PLAIN.format(rate)) for rate in (0.001, 0.1, 0.002, 0.08)]
    whole = evaluator()(programs)
    halved = evaluator(rungs=(Rung(4),))(programs)
    np.testing.assert_array_equal(halved.finished, [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(halved.scores).all(1), ~halved.finished)
    np.testing.assert_array_equal(halved.scores.mean(1)[[1, 3]], halved.fitness[[1, 3]])
    assert_ulps(np.float32(halved.fitness[[1, 3]]), np.float32(whole.fitness[[1, 3]]), LANE)
    assert (halved.fitness[[0, 2]] < whole.fitness[[0, 2]]).all()
    assert halved.updates == 4 * 4 + 2 * 4 + 2 * 8
    np.testing.assert_array_equal(survivors(np.array([-3.0, -1, -np.inf, -2]), Rung(1, 0.25)), [1])
    np.testing.assert_array_equal(survivors(np.array([-3.0, -1, -np.inf, -2]), Rung(1, 0.25, bar=-3)), [0, 1, 3])
    np.testing.assert_array_equal(survivors(np.full(3, -np.inf), Rung(1, 1.0, bar=-np.inf)), [])


def test_a_compiled_skeleton_gives_the_same_fitness():
    programs = [parse(ADAMW), parse(ADAMW.replace("0.05", "0.1").replace("0.9)", "0.8)"))]
    compiled = evaluator(interpreter=Skeleton(programs[0]))
    np.testing.assert_allclose(compiled(programs).fitness, evaluator()(programs).fitness, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bowl(0), "steps >= 1"),
        (lambda: Evaluator(bowl(), seeds=()), "expected seeds"),
        (lambda: Evaluator(bowl(), lanes=0), "lanes >= 1"),
        (lambda: Evaluator(bowl(), rungs=(Rung(8),)), "rungs must rise within 0 and 8"),
        (lambda: Evaluator(bowl(), rungs=(Rung(4), Rung(2))), "rungs must rise"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
