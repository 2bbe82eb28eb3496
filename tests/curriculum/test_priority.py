"""Replay priorities: weights in closed form, and sampling frequencies against them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lopt.curriculum import Proportional, Rank, Replay, TopK
from lopt.curriculum.buffer import ACTIVE, EMPTY, SCORED, empty
from lopt.curriculum.replay import draw
from lopt.types import Level

SCORES = jnp.array([-3.0, 2.0, -1.0, 7.0, 0.5], jnp.float32)
RANKS = np.array([5, 2, 4, 1, 3])
ALL = jnp.ones(5, bool)


def level(key):
    return Level(params=jax.random.uniform(key), num_updates=jnp.int32(1))


def weights(priority, scores=SCORES, valid=ALL):
    log_weights = np.asarray(priority.log_weights(scores, valid), np.float64)
    w = np.exp(log_weights - log_weights.max())
    return w / w.sum()


def chi_square(counts, expected):
    """p-value of the counts under the expected probabilities; counts outside their support must be zero."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    assert counts[expected == 0].sum() == 0
    counts, expected = counts[expected > 0], expected[expected > 0]
    return stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("temperature", [0.1, 0.3, 1.0, 5.0])
def test_rank_is_a_power_of_the_rank(temperature):
    expected = RANKS ** (-1 / temperature)
    np.testing.assert_allclose(weights(Rank(temperature)), expected / expected.sum(), rtol=1e-5)


def test_rank_counts_valid_slots_only():
    valid = jnp.array([True, True, True, False, True])
    expected = np.array([1 / 4, 1, 1 / 3, 0, 1 / 2])
    np.testing.assert_allclose(weights(Rank(1.0), valid=valid), expected / expected.sum(), rtol=1e-6)


def test_rank_ignores_scale_and_sign():
    for scores in (SCORES * 100, SCORES - 1000, jnp.exp(SCORES)):
        np.testing.assert_array_equal(weights(Rank(0.5)), weights(Rank(0.5), scores))


def test_equal_scores_have_equal_weights_in_all_positions():
    np.testing.assert_allclose(weights(Rank(0.01), jnp.full(5, -2.0)), 0.2, rtol=1e-6)
    tied = weights(Rank(1.0), jnp.array([1.0, 3.0, 3.0, 0.0, 1.0]))
    expected = 1 / np.array([3, 1, 1, 5, 3])
    np.testing.assert_allclose(tied, expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("make", [Rank, Proportional, lambda t: TopK(5, t)])
def test_temperature_limits(make):
    np.testing.assert_allclose(weights(make(1e-3)), RANKS == 1, atol=1e-6)
    np.testing.assert_allclose(weights(make(1e6)), 0.2, rtol=1e-4)


def test_low_temperatures_do_not_underflow():
    log_weights = Rank(1e-3).log_weights(SCORES, ALL)
    assert np.isfinite(log_weights).all()
    picks = jax.vmap(lambda k: draw(k, log_weights, 5))(jax.random.split(jax.random.key(0), 50))
    np.testing.assert_array_equal(picks, np.tile(np.argsort(RANKS), (50, 1)))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_proportional_is_a_softmax(temperature):
    expected = np.exp(np.asarray(SCORES, np.float64) / temperature)
    np.testing.assert_allclose(weights(Proportional(temperature)), expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(weights(Proportional(temperature), SCORES - 50), expected / expected.sum(), rtol=1e-4)


def test_top_k_is_a_softmax_of_the_highest_scores():
    expected = np.where(RANKS <= 2, np.exp(np.asarray(SCORES) / 3), 0)
    np.testing.assert_allclose(weights(TopK(2, 3.0)), expected / expected.sum(), rtol=1e-5)
    valid = jnp.array([True, True, True, False, True])
    assert (weights(TopK(2), valid=valid) > 0).tolist() == [False, True, False, False, True]
    assert (weights(TopK(2), jnp.array([1.0, 1.0, 1.0, 0.0, 3.0])) > 0).tolist() == [True] * 3 + [False, True]


@pytest.mark.parametrize("priority", [Rank(0.7), Proportional(2.0), TopK(3, 4.0)])
def test_first_draw_follows_the_weights(priority):
    keys = jax.random.split(jax.random.key(1), 20_000)
    picks = jax.vmap(lambda k: draw(k, priority.log_weights(SCORES, ALL), 1)[0])(keys)
    assert chi_square(np.bincount(picks, minlength=5), weights(priority)) > 1e-3


def test_pairs_follow_the_sequential_draw_without_replacement():
    w = weights(Rank(1.0))
    keys = jax.random.split(jax.random.key(2), 40_000)
    pairs = jax.vmap(lambda k: draw(k, Rank(1.0).log_weights(SCORES, ALL), 2))(keys)
    counts = np.zeros((5, 5))
    np.add.at(counts, tuple(np.asarray(pairs).T), 1)
    expected = np.zeros((5, 5))
    for i, j in itertools.permutations(range(5), 2):
        expected[i, j] = w[i] * w[j] / (1 - w[i])
    assert chi_square(counts.ravel(), expected.ravel()) > 1e-3


def test_indices_of_weight_zero_come_last():
    valid = jnp.array([False, True, False, True, True])
    keys = jax.random.split(jax.random.key(3), 200)
    picks = jax.vmap(lambda k: draw(k, Rank().log_weights(SCORES, valid), 5))(keys)
    assert (np.sort(np.asarray(picks)[:, :3], axis=1) == [1, 3, 4]).all()


def buffer(ages):
    state = empty(level(jax.random.key(0)), 5)
    return state.replace(
        score=SCORES,
        num_finished=jnp.int32(100),
        last_seen=100 - jnp.array(ages, jnp.int32),
        status=jnp.array([SCORED, SCORED, SCORED, ACTIVE, SCORED], jnp.int32),
    )


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_staleness_mixes_two_distributions(rho):
    replay = Replay(generator=level, capacity=5, priority=Rank(1.0), staleness=rho)
    score = np.array([1 / 4, 1, 1 / 3, 0, 1 / 2])
    age = np.array([10, 0, 30, 0, 5])
    expected = (1 - rho) * score / score.sum() + rho * age / age.sum()
    actual = np.exp(replay.log_weights(buffer([10, 0, 30, 99, 5])))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_staleness_with_all_ages_zero_gives_the_score_distribution():
    replay = Replay(generator=level, capacity=5, priority=Rank(1.0), staleness=0.5)
    score = np.array([1 / 4, 1, 1 / 3, 0, 1 / 2])
    np.testing.assert_allclose(np.exp(replay.log_weights(buffer([0] * 5))), score / score.sum(), rtol=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_all_weights_of_an_empty_buffer_are_zero(rho):
    replay = Replay(generator=level, capacity=5, staleness=rho)
    state = buffer([0] * 5).replace(status=jnp.full(5, EMPTY, jnp.int32))
    np.testing.assert_array_equal(replay.log_weights(state), -np.inf)


@pytest.mark.parametrize("make", [lambda: Rank(0.0), lambda: Proportional(-1.0), lambda: TopK(3, 0.0)])
def test_temperature_must_be_positive(make):
    with pytest.raises(ValueError, match="temperature must be positive .got .*expected > 0"):
        make()


def test_k_must_be_positive():
    with pytest.raises(ValueError, match="k must be at least 1"):
        TopK(0)
