"""Aggregates of scores with bootstrap intervals over several factors: training seeds, agent seeds, levels, tasks.

Paper: arXiv 2108.13264 (interquartile mean, stratified bootstrap, performance profiles); Owen, "The pigeonhole
bootstrap" (Annals of Applied Statistics 1, 2007), for crossed factors.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Statistic = Callable[..., Any]
"""From one array of scores, or from several, to a number."""


class Axis(enum.Enum):
    """How the bootstrap treats one axis of an array of scores."""

    CROSSED = "crossed"
    """Entries are drawn with replacement, the same ones for all other indices and for all arrays: levels that every
    rule is tested on, training seeds whose rules are all tested on the same levels."""
    NESTED = "nested"
    """Entries are drawn with replacement anew for every index of the other axes: agent seeds on a level."""
    FIXED = "fixed"
    """Entries are not drawn: tasks or methods that were chosen and not sampled."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores, and what each of their axes stands for.

    Attributes:
        values: an array of numbers.
        axes: one `Axis` for every axis of `values`.

    Raises:
        ValueError: no scores, a score that is not finite, or another number of axes.
    """

    values: np.ndarray
    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64)
        if values.ndim != len(self.axes) or values.size == 0:
            raise ValueError(
                f"scores: expected a non-empty array with {len(self.axes)} axes (got one of shape {values.shape})"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"scores: {int((~np.isfinite(values)).sum())} of {values.size} scores are not finite")
        object.__setattr__(self, "values", values)


def mean(scores: np.ndarray) -> float:
    """The mean of all scores."""
    return float(np.mean(scores))


def iqm(scores: np.ndarray) -> float:
    """The interquartile mean of all scores: a quarter of them, rounded down, is dropped at each end."""
    flat = np.sort(scores, None)
    cut = flat.size // 4
    return float(flat[cut : flat.size - cut].mean())


def bootstrap(
    scores: np.ndarray,
    statistic: Statistic = iqm,
    *,
    axes: Sequence[Axis] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of `scores` with its percentile bootstrap interval.

    Args:
        scores: `[runs]`, `[runs, tasks]`, or any array with `axes`.
        statistic: of an array like `scores`.
        axes: what each axis stands for. By default runs are drawn anew within each task, and tasks are kept: the
            stratified bootstrap.
        confidence: of the interval.
        resamples: how many.
        seed: of the resampling.

    Raises:
        ValueError: no scores, scores that are not finite, or an array of more than two axes without `axes`.
    """
    sample = Sample(scores, _axes(scores, axes))
    return bootstrap_samples(statistic, sample, confidence=confidence, resamples=resamples, seed=seed)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic = mean,
    *,
    axes: Sequence[Axis] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`statistic(first) - statistic(second)` where equal indices of both share their seeds and levels.

    The same entries are drawn for both, so that what they have in common cancels. Arguments as in `bootstrap`.

    Raises:
        ValueError: shapes that differ, or scores that `bootstrap` would refuse.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"paired_difference: both must have one shape (got {np.shape(first)} and {np.shape(second)})")
    samples = [Sample(x, _axes(x, axes)) for x in (first, second)]
    return bootstrap_samples(
        lambda a, b: statistic(a) - statistic(b),
        *samples,
        paired=True,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def bootstrap_samples(
    statistic: Statistic,
    *samples: Sample,
    paired: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of several arrays of scores with its percentile bootstrap interval.

    Crossed axes are drawn once for all arrays; they are the same axis where they have the same place from the end.
    Nested axes are drawn for each array alone, or for all alike if `paired`. With few training seeds the percentile
    interval is too narrow: resampled variance is (n - 1) / n of the variance of n seeds.

    Args:
        statistic: of as many arrays as there are samples; a resample for which it is NaN is left out.
        samples: the scores.
        paired: nested draws are shared, for arrays of one shape.
        confidence: of the interval.
        resamples: how many.
        seed: of the resampling.

    Raises:
        ValueError: crossed axes of different lengths at the same place.
    """
    lengths: dict[int, int] = {}
    for sample in samples:
        for place in _crossed(sample):
            length = sample.values.shape[place]
            if lengths.setdefault(place, length) != length:
                raise ValueError(f"bootstrap: crossed axes must have one length (got {lengths[place]} and {length})")
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        rows = {place: rng.integers(0, length, length) for place, length in lengths.items()}
        nested = rng.integers(0, 2**63) if paired else None
        drawn[i] = statistic(*(_resampled(rng, sample, rows, nested) for sample in samples))
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Interval(float(statistic(*(sample.values for sample in samples))), float(low), float(high))


def t_interval(samples: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """The mean of independent samples `[n]` with Student's confidence interval, for the few samples of a few seeds.

    mean +- t_{n-1} s / sqrt(n), with s the standard deviation of the sample; exact for normal samples, where the
    percentile bootstrap is too narrow.

    Raises:
        ValueError: fewer than two samples, or one that is not finite.
    """
    values = Sample(samples, (Axis.NESTED,)).values
    if values.size < 2:
        raise ValueError(f"t_interval: expected at least two samples (got {values.size})")
    half = float(stats.t.ppf((1 + confidence) / 2, values.size - 1) * values.std(ddof=1) / values.size**0.5)
    middle = float(values.mean())
    return Interval(middle, middle - half, middle + half)


def performance_profile(
    scores: np.ndarray, thresholds: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> list[Interval]:
    """The fraction of runs above each threshold, averaged over tasks, with intervals.

    F(tau) = 1/M sum_m 1/N sum_n 1[x_nm > tau] for scores `[N runs, M tasks]`; `[runs]` for one task.

    Paper: arXiv 2108.13264, equation 2.
    """
    return [
        bootstrap(np.asarray(scores) > tau, mean, confidence=confidence, resamples=resamples, seed=seed)
        for tau in np.asarray(thresholds, np.float64)
    ]


def _axes(scores: np.ndarray, axes: Sequence[Axis] | None) -> tuple[Axis, ...]:
    if axes is not None:
        return tuple(axes)
    if np.ndim(scores) not in (1, 2):
        raise ValueError(
            f"scores: expected [runs] or [runs, tasks], or the meaning of the axes (got shape {np.shape(scores)})"
        )
    return (Axis.NESTED, Axis.FIXED)[: np.ndim(scores)]


def _crossed(sample: Sample) -> list[int]:
    """Places of the crossed axes, counted from the end."""
    return [i - len(sample.axes) for i, axis in enumerate(sample.axes) if axis is Axis.CROSSED]


def _resampled(
    rng: np.random.Generator, sample: Sample, rows: dict[int, np.ndarray], nested: np.integer | int | None
) -> np.ndarray:
    values = sample.values
    for place in _crossed(sample):
        values = np.take(values, rows[place], place)
    own = rng if nested is None else np.random.default_rng(int(nested))
    for i, axis in enumerate(sample.axes):
        if axis is Axis.NESTED:
            values = np.take_along_axis(values, own.integers(0, values.shape[i], values.shape), i)
    return values
