"""Aggregates over seeds and tasks with bootstrap intervals.

Scores are `[runs, tasks]` (or `[runs]`). The bootstrap is stratified: runs are drawn anew within each task,
tasks are kept. Paper: arXiv 2108.13264 (section 4); the interquartile mean is `scipy.stats.trim_mean(scores,
0.25)` of all scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def mean(scores: np.ndarray) -> np.ndarray:
    """The mean over the last two axes, `[..., runs, tasks] -> [...]`."""
    return np.asarray(scores, np.float64).mean((-2, -1))


def iqm(scores: np.ndarray) -> np.ndarray:
    """The interquartile mean over the last two axes: a quarter of the scores is dropped at each end (rounded
    down).
    """
    flat = np.sort(np.asarray(scores, np.float64).reshape(*scores.shape[:-2], -1), -1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def bootstrap(
    scores: np.ndarray,
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The statistic of `scores` with a percentile interval from the stratified bootstrap.

    Raises:
        ValueError: not `[runs]` or `[runs, tasks]`, empty, or a score that is not finite.
    """
    table = _table("bootstrap", scores)
    index = _resample(table.shape, resamples, seed)
    samples = statistic(np.take_along_axis(table[None], index, 1))
    return _interval(statistic(table), samples, confidence)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic = mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`statistic(first) - statistic(second)` where run i of both shares its seed and levels.

    The same runs are drawn for both, so that what they have in common cancels.

    Raises:
        ValueError: shapes that differ, or scores that `bootstrap` would refuse.
    """
    a, b = _table("paired_difference", first), _table("paired_difference", second)
    if a.shape != b.shape:
        raise ValueError(f"paired_difference: both must have one shape (got {a.shape} and {b.shape})")
    index = _resample(a.shape, resamples, seed)
    samples = [statistic(np.take_along_axis(x[None], index, 1)) for x in (a, b)]
    return _interval(statistic(a) - statistic(b), samples[0] - samples[1], confidence)


def _table(name: str, scores: np.ndarray) -> np.ndarray:
    table = np.asarray(scores, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"{name}: scores must be [runs] or [runs, tasks] and not empty (got shape {np.shape(scores)})")
    if not np.isfinite(table).all():
        raise ValueError(f"{name}: {int((~np.isfinite(table)).sum())} of {table.size} scores are not finite")
    return table


def _resample(shape: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    """Row indices `[resamples, runs, tasks]`, drawn independently for every task."""
    return np.random.default_rng(seed).integers(0, shape[0], (resamples, *shape))


def _interval(value: np.ndarray, samples: np.ndarray, confidence: float) -> Interval:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(samples, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high))
