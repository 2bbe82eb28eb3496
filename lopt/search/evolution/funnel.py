"""A funnel: who is good on the small task is tried on larger ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lopt.search.evolution.search import Fitness
from lopt.search.program import Program


@dataclass(frozen=True)
class Level:
    """A task of the funnel, the program whose fitness there is the bar, and how many go on at most (None: all)."""

    fitness: Fitness
    baseline: Program
    most: int | None = None


def funnel(programs: Sequence[Program], levels: Sequence[Level]) -> list[dict[int, float]]:
    """For every level the fitness of those that came so far, by their place in `programs`, best first.

    To the next level go the best `most` of those that beat the level's baseline.

    Paper: arXiv 2302.06675, section 2 (funnel selection).
    """
    left = list(range(len(programs)))
    results: list[dict[int, float]] = []
    for level in levels:
        if not left:
            results.append({})
            continue
        *values, bar = map(float, level.fitness([*(programs[i] for i in left), level.baseline]))
        order = sorted(zip(left, values, strict=True), key=lambda pair: -pair[1])
        results.append(dict(order))
        left = [i for i, value in order if value > bar and np.isfinite(value)][: level.most]
    return results
