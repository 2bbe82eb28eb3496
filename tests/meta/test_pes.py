"""Persistent evolution strategies: unbiased where truncated ones are not, and ES where nothing is truncated."""

import functools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import ES, PES, MetaLearner, PairSign, Raw
from lopt.types import Level
from tests.meta.test_es import THETA, Walk, flat
from tests.meta.test_es import levels as walks

KEY = jax.random.key(0)
N, K, WINDOWS, STD = 16, 2, 4, 0.5
CENTRE = {"x": jnp.array([0.5, -1.0])}
PULL, NOISE, PUSH = 0.3, 0.2, 3


class Point(struct.PyTreeNode):
    """Where a learner is."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Drift:
    """Pulled towards theta, but for the first `PUSH` updates away from it; its loss is quadratic in where it is.

    What theta does early has the opposite effect of what it does late, so that a short-sighted gradient is wrong.
    """

    def init(self, key, theta, level):
        return Point(jax.random.normal(key, (2,)), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        alive = state.age < level.lifetime
        pull = jnp.where(state.age < PUSH, -3 * PULL, PULL)
        x = 0.9 * state.x + pull * theta["x"] + NOISE * jax.random.normal(key, (2,))
        return Point(jnp.where(alive, x, state.x), state.age + alive), {"age": state.age * 1.0}

    def meta_loss(self, key, theta, level, state):
        return 0.5 * ((state.x - level.params) ** 2).sum(), state, {}

    def age(self, state):
        return state.age


def levels(num=N):
    return Level(params=jnp.ones((num, 2)), lifetime=jnp.full(num, K * WINDOWS))


def exact(start):
    """The gradient in theta of the mean over pairs of the sum of the expected losses at the ends of the windows."""
    x, slope, total = np.float64(start), 0.0, 0.0
    theta = np.float64(CENTRE["x"])
    for age in range(K * WINDOWS):
        pull = -3 * PULL if age < PUSH else PULL
        x, slope = 0.9 * x + pull * theta, 0.9 * slope + pull
        if (age + 1) % K == 0:
            total = total + slope * (x - 1)
    return total.mean(0)


@functools.cache
def whole_lives(estimator, draws=1500):
    """Sums of the estimates over whole lives from the same births, `[draws, 2]`, and the exact gradient."""
    some = levels()
    born = jax.jit(estimator.init)(KEY, CENTRE, some)

    @jax.jit
    @jax.vmap
    def life(key):
        def window(state, key):
            grads, state, _ = estimator.estimate(key, CENTRE, some, state)
            return state, grads["x"]

        return jax.lax.scan(window, born, jax.random.split(key, WINDOWS))[1].sum(0)

    start = estimator.learners(born).x
    return np.float64(life(jax.random.split(jax.random.key(1), draws))), exact(start)


def z_scores(estimator):
    sums, expected = whole_lives(estimator)
    return (sums.mean(0) - expected) / (sums.std(0) / np.sqrt(len(sums)))


@pytest.mark.parametrize("reuse", [False, True], ids=["PES", "noise reused"])
def test_the_sum_over_a_life_is_unbiased(reuse):
    estimator = PES(Drift(), K, STD, reuse=reuse)
    assert (np.abs(z_scores(estimator)) < 4).all()
    sums, expected = whole_lives(estimator)
    assert (np.abs(expected) > 10 * sums.std(0) / np.sqrt(len(sums))).any()


def test_truncated_es_is_not():
    assert (np.abs(z_scores(ES(Drift(), K, STD, Raw()))) > 20).any()


def test_reused_noise_has_less_variance():
    fresh, reused = (whole_lives(PES(Drift(), K, STD, reuse=reuse))[0] for reuse in (False, True))
    assert (reused.var(0) < 0.8 * fresh.var(0)).all()


@pytest.mark.parametrize("reuse", [False, True])
def test_without_truncation_it_is_es_on_the_same_noise(reuse):
    some = walks(3, 2, 3, 1)
    out = []
    for estimator in (ES(Walk(), 3, 0.3, Raw()), PES(Walk(), 3, 0.3, reuse)):
        state = jax.jit(estimator.init)(jax.random.key(1), THETA, some)
        grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, some, state)
        out.append((grads, estimator.learners(after), metrics.meta))
    chex.assert_trees_all_close(*out, rtol=1e-5, atol=1e-6)


def test_what_is_remembered():
    """xi is the sum of eps / sigma with sigma as it was, each of a pair lives on as it was, and so do their keys."""
    estimator, some = PES(Drift(), K, lambda count: 0.5 / (1.0 + count)), levels(3)
    state = born = jax.jit(estimator.init)(KEY, CENTRE, some)
    go, shifts = jax.jit(estimator.estimate), [np.zeros((3, 2))]
    for i in range(2):
        _, state, _ = go(jax.random.fold_in(KEY, i), CENTRE, some, state)
        shifts.append(np.asarray(state.lives.shift["x"]))
    assert state.shared == 2
    first, second = (0.5 * shifts[1]), 0.25 * (shifts[2] - shifts[1])  # eps of each window
    x = np.float64(born.lives.learners.x)
    half = 0.0
    for age in range(2 * K):
        pull, eps = (-3 * PULL if age < PUSH else PULL), (0.5 * first if age < K else 0.25 * second)
        half = 0.9 * half + pull * eps
    gap = np.asarray(state.lives.learners.x)
    np.testing.assert_allclose(gap[:, 0] - gap[:, 1], 2 * half, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x[:, 0], x[:, 1])
    np.testing.assert_array_equal(estimator.age(state), np.full(3, 2 * K))


def test_noise_that_is_reused_is_that_of_birth():
    estimator, some = PES(Drift(), K, STD, reuse=True), levels(3)
    state = jax.jit(estimator.init)(KEY, CENTRE, some)
    go = jax.jit(estimator.estimate)
    _, one, _ = go(KEY, CENTRE, some, state)
    _, two, _ = go(jax.random.key(1), CENTRE, some, one)
    chex.assert_trees_all_equal(one.lives.shift, two.lives.shift)
    assert len(np.unique(one.lives.shift["x"])) == 6


def test_a_pair_that_is_lost_says_nothing_and_is_over():
    """The limit lies where theta is: of every pair one is lost in its first window."""
    some = walks(9, 9, 9, 9, limit=THETA["a"].sum())
    for shaping in (Raw(), PairSign()):
        estimator = PES(Walk(), 2, 1.0, shaping=shaping)
        state = jax.jit(estimator.init)(KEY, THETA, some)
        go = jax.jit(estimator.estimate)
        grads, after, metrics = go(KEY, THETA, some, state)
        assert np.isfinite(flat(grads)).all() and metrics.meta["frac_nonfinite"] == 0.5
        # raw losses cannot be compared with what is lost; signs can, once, and say that this way is bad
        assert (flat(grads) != 0).any() == isinstance(shaping, PairSign)
        assert (np.asarray(estimator.age(after)) > 9).all()
        again, *_ = go(jax.random.key(1), THETA, some, after)
        np.testing.assert_array_equal(flat(again), np.zeros(4))


def test_the_meta_learner_renews_what_is_over_or_lost_and_descends():
    def level(key):
        params = {"target": jnp.ones(4), "scale": jnp.ones(()), "limit": jnp.float32(8.0)}
        return Level(params=params, lifetime=jnp.int32(7))

    estimator = PES(Walk(noise=0.0), 2, 0.1, shaping=PairSign())
    learner = MetaLearner(estimator, DomainRandomisation(level), Uniform(), optax.adam(0.1), 8)
    state = jax.jit(learner.init)(KEY, THETA)

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda s, i: learner.step(jax.random.fold_in(KEY, i), s), state, jnp.arange(80))

    state, metrics = train(state)
    finished = np.asarray(metrics["finished"])
    assert 0 < finished[10:].mean() < 8 and np.isfinite(np.asarray(metrics["meta_loss"])).all()
    # windows end at the ages 2, 4, 6 and 7: sum (0.1 age theta - 1)^2 is least at 1.9 / 1.05
    assert np.abs(flat(state.theta) - 1.9 / 1.05).mean() < 0.4 * np.abs(flat(THETA) - 1.9 / 1.05).mean()
    # a newborn has no past
    age = np.asarray(estimator.age(state.lifetimes))
    newborn = age == 0
    assert all((np.asarray(x)[newborn] == 0).all() for x in jax.tree.leaves(state.lifetimes.lives.shift))


def test_what_goes_on_after_a_truncation_is_not_selected():
    """Truncated ES: the learners after two windows are those of unselected lives, in the mean over keys."""
    estimator, some = ES(Drift(), K, STD, Raw()), levels()
    born = jax.jit(estimator.init)(KEY, CENTRE, some)

    @jax.jit
    @jax.vmap
    def life(key):
        state = born
        for window in jax.random.split(key):
            _, state, _ = estimator.estimate(window, CENTRE, some, state)
        return state.lives.x.mean(0)

    got = np.float64(life(jax.random.split(KEY, 1500)))
    x = np.float64(born.lives.x)
    for age in range(2 * K):
        x = 0.9 * x + (-3 * PULL if age < PUSH else PULL) * np.float64(CENTRE["x"])
    z = (got.mean(0) - x.mean(0)) / (got.std(0) / np.sqrt(len(got)))
    assert (np.abs(z) < 4).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PES(Walk(), 0), r"PES: num_updates must be at least 1 \(got 0\)"),
        (lambda: PES(Walk(), 1, std=-1.0), r"PES: std must be positive \(got -1.0\)"),
        (lambda: PES(Walk(), 1, pack=0), "PES: pack must be at least 1 or None"),
        (
            lambda: jax.eval_shape(
                lambda s: PES(Walk(), 1, pack=2).estimate(KEY, THETA, walks(1, 1, 1), s),
                jax.eval_shape(lambda: PES(Walk(), 1).init(KEY, THETA, walks(1, 1, 1))),
            ),
            r"pack must divide the number of levels \(got 2 and 3\)",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
