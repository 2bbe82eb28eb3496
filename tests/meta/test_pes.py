"""Persistent evolution strategies: unbiased under truncation, and equal to ES without truncation."""

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
from lopt.types import Level, UpdateInfo
from tests.meta.test_es import THETA, Walk, flat
from tests.meta.test_es import levels as walks

KEY = jax.random.key(0)
N, K, WINDOWS, STD = 16, 2, 4, 0.5
CENTRE = {"x": jnp.array([0.5, -1.0])}
PULL, NOISE, PUSH = 0.3, 0.2, 3


class Point(struct.PyTreeNode):
    """Position of a learner and number of its updates."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Drift:
    """A point repelled by theta in the first `PUSH` updates and attracted afterwards; the loss is quadratic.

    The early and the late effects of theta have opposite signs, so that a truncated gradient is biased.
    """

    def init(self, key, theta, level):
        return Point(jax.random.normal(key, (2,)), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        active = state.age < level.num_updates
        pull = jnp.where(state.age < PUSH, -3 * PULL, PULL)
        x = 0.9 * state.x + pull * theta["x"] + NOISE * jax.random.normal(key, (2,))
        return Point(jnp.where(active, x, state.x), state.age + active), UpdateInfo({"age": state.age * 1.0})

    def meta_loss(self, key, theta, level, state):
        return 0.5 * ((state.x - level.params) ** 2).sum(), state, {}

    def age(self, state):
        return state.age


def levels(num=N):
    return Level(params=jnp.ones((num, 2)), num_updates=jnp.full(num, K * WINDOWS))


def exact_gradient(initial):
    """The gradient in theta of the mean over pairs of the sum of the expected losses at the ends of the windows."""
    x, slope, total = np.float64(initial), 0.0, 0.0
    theta = np.float64(CENTRE["x"])
    for age in range(K * WINDOWS):
        pull = -3 * PULL if age < PUSH else PULL
        x, slope = 0.9 * x + pull * theta, 0.9 * slope + pull
        if (age + 1) % K == 0:
            total = total + slope * (x - 1)
    return total.mean(0)


@functools.cache
def lifetime_sums(estimator, draws=1500):
    """Sums of the estimates over a lifetime from the same initial learners, `[draws, 2]`, and the exact gradient."""
    batch = levels()
    initial = jax.jit(estimator.init)(KEY, CENTRE, batch)

    @jax.jit
    @jax.vmap
    def lifetime_sum(key):
        def window(state, key):
            grads, state, _ = estimator.estimate(key, CENTRE, batch, state)
            return state, grads["x"]

        return jax.lax.scan(window, initial, jax.random.split(key, WINDOWS))[1].sum(0)

    positions = estimator.learners(initial).x
    return np.float64(lifetime_sum(jax.random.split(jax.random.key(1), draws))), exact_gradient(positions)


def z_scores(estimator):
    sums, expected = lifetime_sums(estimator)
    return (sums.mean(0) - expected) / (sums.std(0) / np.sqrt(len(sums)))


@pytest.mark.parametrize("reuse", [False, True], ids=["PES", "noise reused"])
def test_the_sum_over_a_lifetime_is_unbiased(reuse):
    estimator = PES(lifetime=Drift(), num_updates=K, std=STD, reuse=reuse)
    assert (np.abs(z_scores(estimator)) < 4).all()
    sums, expected = lifetime_sums(estimator)
    assert (np.abs(expected) > 10 * sums.std(0) / np.sqrt(len(sums))).any()


def test_truncated_es_is_biased():
    assert (np.abs(z_scores(ES(lifetime=Drift(), num_updates=K, std=STD, shaping=Raw()))) > 20).any()


def test_reused_noise_has_less_variance():
    fresh, reused = (
        lifetime_sums(PES(lifetime=Drift(), num_updates=K, std=STD, reuse=reuse))[0] for reuse in (False, True)
    )
    assert (reused.var(0) < 0.8 * fresh.var(0)).all()


@pytest.mark.parametrize("reuse", [False, True])
def test_without_truncation_it_is_es_on_the_same_noise(reuse):
    batch = walks(3, 2, 3, 1)
    out = []
    for estimator in (
        ES(lifetime=Walk(), num_updates=3, std=0.3, shaping=Raw()),
        PES(lifetime=Walk(), num_updates=3, std=0.3, reuse=reuse),
    ):
        state = jax.jit(estimator.init)(jax.random.key(1), THETA, batch)
        grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, batch, state)
        out.append((grads, estimator.learners(after), metrics.meta))
    chex.assert_trees_all_close(*out, rtol=1e-5, atol=1e-6)


def test_learners_continue_and_xi_accumulates():
    """xi is the sum of eps / sigma with the sigma of each window; both members continue, with common keys."""
    estimator, batch = PES(lifetime=Drift(), num_updates=K, std=lambda count: 0.5 / (1.0 + count)), levels(3)
    state = initial = jax.jit(estimator.init)(KEY, CENTRE, batch)
    estimate, sums = jax.jit(estimator.estimate), [np.zeros((3, 2))]
    for i in range(2):
        _, state, _ = estimate(jax.random.fold_in(KEY, i), CENTRE, batch, state)
        sums.append(np.asarray(state.per_lifetime.xi["x"]))
    assert state.shared == 2
    first, second = (0.5 * sums[1]), 0.25 * (sums[2] - sums[1])  # eps of each window
    initial_x = np.float64(initial.per_lifetime.learners.x)
    half_difference = 0.0
    for age in range(2 * K):
        pull, eps = (-3 * PULL if age < PUSH else PULL), (0.5 * first if age < K else 0.25 * second)
        half_difference = 0.9 * half_difference + pull * eps
    x = np.asarray(state.per_lifetime.learners.x)
    np.testing.assert_allclose(x[:, 0] - x[:, 1], 2 * half_difference, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(initial_x[:, 0], initial_x[:, 1])
    np.testing.assert_array_equal(estimator.age(state), np.full(3, 2 * K))


def test_reused_noise_is_that_of_the_first_window():
    estimator, batch = PES(lifetime=Drift(), num_updates=K, std=STD, reuse=True), levels(3)
    state = jax.jit(estimator.init)(KEY, CENTRE, batch)
    estimate = jax.jit(estimator.estimate)
    _, first, _ = estimate(KEY, CENTRE, batch, state)
    _, second, _ = estimate(jax.random.key(1), CENTRE, batch, first)
    chex.assert_trees_all_equal(first.per_lifetime.xi, second.per_lifetime.xi)
    assert len(np.unique(first.per_lifetime.xi["x"])) == 6


def test_a_pair_with_a_nonfinite_loss_contributes_nothing_and_ends():
    """The limit is at theta, so that one member of every pair has a NaN loss in its first window."""
    batch = walks(9, 9, 9, 9, limit=THETA["a"].sum())
    for shaping in (Raw(), PairSign()):
        estimator = PES(lifetime=Walk(), num_updates=2, std=1.0, shaping=shaping)
        state = jax.jit(estimator.init)(KEY, THETA, batch)
        estimate = jax.jit(estimator.estimate)
        grads, after, metrics = estimate(KEY, THETA, batch, state)
        assert np.isfinite(flat(grads)).all() and metrics.meta["frac_nonfinite"] == 0.5
        # a raw loss cannot be compared with NaN; a sign can, in this window, and points away from the limit
        assert (flat(grads) != 0).any() == isinstance(shaping, PairSign)
        assert (np.asarray(estimator.age(after)) > 9).all()
        again, *_ = estimate(jax.random.key(1), THETA, batch, after)
        np.testing.assert_array_equal(flat(again), np.zeros(4))


def test_the_meta_learner_replaces_ended_and_nonfinite_pairs_and_descends():
    def level(key):
        params = {"target": jnp.ones(4), "scale": jnp.ones(()), "limit": jnp.float32(8.0)}
        return Level(params=params, num_updates=jnp.int32(7))

    estimator = PES(lifetime=Walk(noise=0.0), num_updates=2, std=0.1, shaping=PairSign())
    learner = MetaLearner(
        estimator=estimator,
        curriculum=DomainRandomisation(level),
        score=Uniform(),
        optimizer=optax.adam(0.1),
        num_lifetimes=8,
    )
    state = jax.jit(learner.init)(KEY, THETA)

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda s, i: learner.step(jax.random.fold_in(KEY, i), s), state, jnp.arange(80))

    state, metrics = train(state)
    finished = np.asarray(metrics["finished"])
    assert 0 < finished[10:].mean() < 8 and np.isfinite(np.asarray(metrics["meta_loss"])).all()
    # windows end at the ages 2, 4, 6 and 7: sum (0.1 age theta - 1)^2 is least at 1.9 / 1.05
    assert np.abs(flat(state.theta) - 1.9 / 1.05).mean() < 0.4 * np.abs(flat(THETA) - 1.9 / 1.05).mean()
    # initial pairs have accumulated no perturbation
    age = np.asarray(estimator.age(state.estimator_state))
    initial = age == 0
    assert all((np.asarray(x)[initial] == 0).all() for x in jax.tree.leaves(state.estimator_state.per_lifetime.xi))


def test_survivors_of_a_truncation_are_not_selected():
    """Truncated ES: in the mean over keys the learners after two windows are those without selection."""
    estimator, batch = ES(lifetime=Drift(), num_updates=K, std=STD, shaping=Raw()), levels()
    initial = jax.jit(estimator.init)(KEY, CENTRE, batch)

    @jax.jit
    @jax.vmap
    def mean_position(key):
        state = initial
        for window in jax.random.split(key):
            _, state, _ = estimator.estimate(window, CENTRE, batch, state)
        return state.per_lifetime.x.mean(0)

    got = np.float64(mean_position(jax.random.split(KEY, 1500)))
    x = np.float64(initial.per_lifetime.x)
    for age in range(2 * K):
        x = 0.9 * x + (-3 * PULL if age < PUSH else PULL) * np.float64(CENTRE["x"])
    z = (got.mean(0) - x.mean(0)) / (got.std(0) / np.sqrt(len(got)))
    assert (np.abs(z) < 4).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PES(lifetime=Walk(), num_updates=0), r"PES: num_updates must be at least 1 \(got 0\)"),
        (lambda: PES(lifetime=Walk(), num_updates=1, std=-1.0), r"PES: std must be positive \(got -1.0\)"),
        (lambda: PES(lifetime=Walk(), num_updates=1, pack=0), "PES: pack must be at least 1 or None"),
        (
            lambda: jax.eval_shape(
                lambda s: PES(lifetime=Walk(), num_updates=1, pack=2).estimate(KEY, THETA, walks(1, 1, 1), s),
                jax.eval_shape(lambda: PES(lifetime=Walk(), num_updates=1).init(KEY, THETA, walks(1, 1, 1))),
            ),
            r"pack must divide the number of levels \(got 2 and 3\)",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_weight_of_a_window_multiplies_the_shaped_fitness():
    """Under signs only the weight depends on progress: half after the first of two windows, one after the second."""
    batch = Level(params=jnp.ones((N, 2)), num_updates=jnp.full(N, 2 * K))
    plain, weighted = (
        PES(lifetime=Drift(), num_updates=K, std=STD, shaping=PairSign(), weight=weight)
        for weight in (None, lambda progress: progress.fraction)
    )
    state, gradients = jax.jit(plain.init)(KEY, CENTRE, batch), []
    for i in range(2):
        key = jax.random.fold_in(KEY, i)
        (first, after, _), (second, *_) = (jax.jit(e.estimate)(key, CENTRE, batch, state) for e in (plain, weighted))
        gradients.append((first, second))
        state = after
    for (first, second), factor in zip(gradients, (0.5, 1.0), strict=True):
        chex.assert_trees_all_close(second, jax.tree.map(lambda g, f=factor: f * g, first), rtol=1e-5)
