"""Aggregates against closed forms and slow references."""

import numpy as np
import pytest

from experiments.common.stats import Interval, bootstrap, iqm, mean, paired_difference


def slow_iqm(scores):
    values = sorted(np.ravel(scores))
    cut = int(0.25 * len(values))
    return sum(values[cut : len(values) - cut]) / (len(values) - 2 * cut)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (4, 1), (5, 3), (8, 2)])
def test_iqm_is_the_trimmed_mean(shape):
    scores = np.random.default_rng(0).normal(size=shape)
    assert iqm(scores) == pytest.approx(slow_iqm(scores))
    stack = np.stack([scores, 2 * scores])
    np.testing.assert_allclose(iqm(stack), [slow_iqm(scores), slow_iqm(2 * scores)])
    assert mean(scores) == pytest.approx(scores.mean())


def test_iqm_ignores_outliers():
    assert iqm(np.array([[-1e9], [1.0], [2.0], [1e9]])) == 1.5


def test_bootstrap_of_a_mean_has_the_normal_width():
    scores = np.random.default_rng(1).normal(size=400)
    interval = bootstrap(scores, mean, resamples=4000)
    standard_error = scores.std() / np.sqrt(scores.size)
    assert interval.value == pytest.approx(scores.mean())
    assert interval.low == pytest.approx(scores.mean() - 1.96 * standard_error, abs=0.1 * standard_error)
    assert interval.high == pytest.approx(scores.mean() + 1.96 * standard_error, abs=0.1 * standard_error)


def test_bootstrap_is_stratified():
    """Tasks are not drawn: with constant scores in each task there is nothing to vary."""
    scores = np.tile([[0.0, 10.0, 100.0]], (5, 1))
    interval = bootstrap(scores, mean)
    assert interval.low == interval.high == interval.value == pytest.approx(110 / 3)


def test_coverage():
    rng = np.random.default_rng(2)
    intervals = [bootstrap(rng.normal(size=30), mean, resamples=300) for _ in range(200)]
    covered = np.mean([i.low <= 0 <= i.high for i in intervals])
    assert 0.88 <= covered <= 0.99


def test_confidence_and_seed():
    scores = np.random.default_rng(3).normal(size=(10, 2))
    assert bootstrap(scores) == bootstrap(scores)
    assert bootstrap(scores, seed=1) != bootstrap(scores)
    narrow, wide = bootstrap(scores, confidence=0.5), bootstrap(scores, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_pairing_cancels_what_is_shared():
    rng = np.random.default_rng(4)
    shared = 10 * rng.normal(size=(20, 3))
    better = shared + 1 + 0.1 * rng.normal(size=(20, 3))
    paired = paired_difference(better, shared)
    assert paired.value == pytest.approx((better - shared).mean())
    assert 0.9 < paired.low < paired.high < 1.1
    exact = bootstrap(better - shared, mean)
    assert (paired.low, paired.high) == pytest.approx((exact.low, exact.high))
    assert str(Interval(1.0, 0.5, 2.0)) == "1 [0.5, 2]"


@pytest.mark.parametrize(
    ("scores", "message"),
    [(np.zeros((2, 2, 2)), "shape"), (np.zeros(0), "not empty"), (np.array([1.0, np.nan]), "1 of 2 scores")],
)
def test_bad_scores(scores, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(scores)


def test_pairs_must_match():
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(np.zeros(3), np.zeros(4))
