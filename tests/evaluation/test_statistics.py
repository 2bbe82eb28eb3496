"""Aggregates against closed forms and slow references."""

import numpy as np
import pytest

from lopt.evaluation import (
    Axis,
    Interval,
    Sample,
    bootstrap,
    bootstrap_samples,
    iqm,
    mean,
    paired_difference,
    performance_profile,
    t_interval,
)

CROSSED, NESTED, FIXED = Axis.CROSSED, Axis.NESTED, Axis.FIXED


def slow_iqm(scores):
    values = sorted(np.ravel(scores))
    cut = int(0.25 * len(values))
    return sum(values[cut : len(values) - cut]) / (len(values) - 2 * cut)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (4, 1), (5, 3), (8, 2)])
def test_iqm_is_the_trimmed_mean(shape):
    scores = np.random.default_rng(0).normal(size=shape)
    assert iqm(scores) == pytest.approx(slow_iqm(scores))
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
    assert (paired.low, paired.high) == pytest.approx((exact.low, exact.high), abs=0.005)
    assert str(Interval(1.0, 0.5, 2.0)) == "1 [0.5, 2]"


@pytest.mark.parametrize(
    ("scores", "message"),
    [(np.zeros((2, 2, 2)), "shape"), (np.zeros(0), "non-empty"), (np.array([1.0, np.nan]), "1 of 2 scores")],
)
def test_bad_scores(scores, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(scores)


def test_pairs_must_match():
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(np.zeros(3), np.zeros(4))


def effects(shape, scales, seed=0):
    """Sums of one random effect per axis, each `scales[i]` wide, and a residual of `scales[-1]`."""
    rng = np.random.default_rng(seed)
    total = scales[-1] * rng.normal(size=shape)
    for i, (length, scale) in enumerate(zip(shape, scales[:-1], strict=True)):
        total += scale * rng.normal(size=[length if j == i else 1 for j in range(len(shape))])
    return total


def width(interval):
    return (interval.high - interval.low) / (2 * 1.96)


@pytest.mark.parametrize(
    ("axes", "variance"),
    [
        ((CROSSED, CROSSED), lambda a, b, r: a / 40 + b / 50 + r / 2000),
        ((FIXED, CROSSED), lambda a, b, r: b / 50 + r / 2000),
        ((CROSSED, FIXED), lambda a, b, r: a / 40 + r / 2000),
        ((NESTED, CROSSED), lambda a, b, r: a / 2000 + b / 50 + r / 2000),
        ((NESTED, FIXED), lambda a, b, r: a / 2000 + r / 2000),
    ],
)
def test_widths_are_those_of_the_variance_components(axes, variance):
    """[40 seeds, 50 levels] with an effect of each: a factor that is drawn contributes its variance over its number.

    The residual of a crossed design counts up to three times (pigeonhole bootstrap), here a hundredth of the rest.
    """
    scores = effects((40, 50), (1.0, 2.0, 0.1))
    a, b = scores.mean(1).var(), scores.mean(0).var()
    expected = np.sqrt(variance(a, b, 0.01))
    assert width(bootstrap(scores, mean, axes=axes)) == pytest.approx(expected, rel=0.15)


def test_crossed_axes_are_drawn_alike_for_all_samples():
    """A ratio of two arrays that share a level effect: drawn together the effect cancels, drawn alone it does not."""
    levels = np.exp(effects((1, 64), (0.0, 1.0, 0.0)))
    one, other = Sample(2 * levels.repeat(3, 0), (NESTED, CROSSED)), Sample(levels[0], (CROSSED,))
    ratio = bootstrap_samples(lambda a, b: a.mean() / b.mean(), one, other)
    assert (ratio.low, ratio.high) == pytest.approx((2, 2))
    alone = bootstrap_samples(lambda a, b: a.mean() / b.mean(), one, Sample(levels[0], (NESTED,)))
    assert alone.high - alone.low > 0.5


def test_a_statistic_that_is_not_a_number_for_some_resamples():
    with np.errstate(invalid="ignore"):
        interval = bootstrap(np.array([0.0, 1.0]), lambda x: x.sum() / x.max(), axes=(NESTED,))
    assert (interval.low, interval.high) == (1, 2)


def test_a_performance_profile_is_the_fraction_above():
    scores = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])
    profile = performance_profile(scores, np.array([-1, 2.5, 10]))
    assert [point.value for point in profile] == [1, 5 / 8, 0]
    assert profile[0].low == profile[0].high == 1 and profile[1].low < 5 / 8 < profile[1].high


def test_crossed_axes_must_have_one_length():
    with pytest.raises(ValueError, match="one length .got 3 and 4"):
        bootstrap_samples(lambda a, b: 0.0, Sample(np.zeros(3), (CROSSED,)), Sample(np.zeros(4), (CROSSED,)))
    with pytest.raises(ValueError, match="with 1 axes .got one of shape .2, 3.."):
        Sample(np.zeros((2, 3)), (CROSSED,))


def test_the_t_interval_covers_and_is_exact_for_few_samples():
    rng = np.random.default_rng(6)
    covered = np.mean([(i := t_interval(rng.normal(size=3))).low <= 0 <= i.high for _ in range(2000)])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))
    one = t_interval(np.array([1.0, 3.0]))
    assert (one.value, one.low, one.high) == pytest.approx((2, 2 - 12.7062, 2 + 12.7062), abs=1e-3)
    with pytest.raises(ValueError, match="at least two samples .got 1"):
        t_interval(np.array([1.0]))
