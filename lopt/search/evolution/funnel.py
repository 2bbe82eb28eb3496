"""Funnel selection: programs that beat a baseline on a task are evaluated on the next, larger task."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lopt.search.evolution.search import Fitness
from lopt.search.program import Program


@dataclass(frozen=True)
class Stage:
    """A stage of the funnel.

    Attributes:
        fitness: fitness on the stage's task.
        baseline: program whose fitness on this task must be exceeded.
        max_promoted: maximum number of programs that go on to the next stage; None for all that beat the baseline.
    """

    fitness: Fitness
    baseline: Program
    max_promoted: int | None = None


def funnel(programs: Sequence[Program], stages: Sequence[Stage]) -> list[dict[int, float]]:
    """Evaluate programs on successive stages; each stage promotes the best of those that beat its baseline.

    Returns:
        For each stage, the fitness of the programs that reached it, by their index in `programs`, best first.

    Paper: arXiv 2302.06675, section 2 (funnel selection).
    """
    remaining = list(range(len(programs)))
    results: list[dict[int, float]] = []
    for stage in stages:
        if not remaining:
            results.append({})
            continue
        *values, threshold = map(float, stage.fitness([*(programs[i] for i in remaining), stage.baseline]))
        ranking = sorted(zip(remaining, values, strict=True), key=lambda pair: -pair[1])
        results.append(dict(ranking))
        remaining = [i for i, value in ranking if value > threshold and np.isfinite(value)][: stage.max_promoted]
    return results
