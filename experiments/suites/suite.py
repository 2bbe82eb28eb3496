"""What a suite is: tasks on which learners are trained from scratch, with baselines and a scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from experiments.suites.candidates import Candidate
from lopt.evaluation import Axis, mean, paired_difference

AXES = (Axis.NESTED, Axis.CROSSED)
"""Axes of scores: seeds are drawn anew on each level, levels are the same for all rules."""


@dataclass(frozen=True)
class Scores:
    """What one rule reached on one task.

    Attributes:
        values: `[seeds, levels]`.
        tuned: settings that were chosen for this rule on this task, by seeds that are not among the values.
    """

    values: np.ndarray
    tuned: Mapping[str, Any] = field(default_factory=dict)


class Suite(Protocol):
    """Trains learners under a rule on the tasks of a suite; all rules get the same seeds and levels."""

    @property
    def tasks(self) -> Sequence[str]:
        """Names of the tasks."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """Kinds of rules that it can train learners under."""
        ...

    @property
    def baselines(self) -> Mapping[str, Any]:
        """Baselines by name."""
        ...

    @property
    def required(self) -> Sequence[str]:
        """Baselines that are always measured, because the scale needs them; the last one is the reference."""
        ...

    @property
    def measure(self) -> str:
        """What a score is, for tables."""
        ...

    @property
    def scale(self) -> str:
        """What a normalised score is, for tables."""
        ...

    def check(self, candidate: Candidate) -> None:
        """Check, before anything is computed, that a candidate of the right kind fits the tasks.

        Raises:
            ValueError: it does not.
        """
        ...

    def scores(self, candidate: Candidate, task: str) -> Scores:
        """Train learners from scratch and measure them."""
        ...

    def normalised(self, values: np.ndarray, required: Mapping[str, np.ndarray]) -> np.ndarray:
        """Normalised scores `[seeds, levels]`, given those of the required baselines; NaN where there is no scale."""
        ...


def between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(values - mean of low) / (mean of high - mean of low): 0 and 1 are the means of two baselines on the task.

    All are NaN where `high` is not above `low` by more than the 95 % interval of their difference: there is no scale.
    """
    if not paired_difference(high, low, mean, axes=AXES).low > 0:
        return np.full(values.shape, np.nan)
    return (values - low.mean()) / (high.mean() - low.mean())
