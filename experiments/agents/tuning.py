"""Tuning of the learning rate of PPO agents, by one search for all methods that are compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

from experiments.agents.meta_test import MetaTestResult
from lopt.training.checks import at_least, positive
from lopt.types import Key, Theta

FITNESS = ("final", "lifetime")
"""What agents are tuned for and rules are selected for: the return after the last update, or its mean over updates."""

CURVE, TUNING, TABLE = (20_240_707 + i for i in range(3))
"""Seeds of the agents of the validation curve, of the tuning, and of the final table."""

ANNEALING = {"constant": False, "annealed": True}
"""Whether the learning rate decays linearly to zero, by variant."""

Tester = Callable[[Key, Theta], MetaTestResult]
"""Meta-testing of agents, from keys `[seeds]` and the learning rate."""


@dataclass(frozen=True)
class TuningConfig:
    """Sizes of the search and of the final table.

    Raises:
        ValueError: a number out of range, or a smallest rate that is not below the largest.
    """

    rates: int = 8
    """Number of learning rates over which every method is tuned in every environment, evenly spaced in the logarithm;
    each with a constant rate and with one that decays linearly to zero."""
    smallest_rate: float = 3e-4
    """Smallest learning rate of the tuning grid."""
    largest_rate: float = 0.1
    """Largest learning rate of the tuning grid."""
    tuning_seeds: int = 32
    """Number of agents by whose mean return a learning rate is chosen."""
    seeds: int = 64
    """Number of agents in the final table, with other seeds than those of the tuning."""
    episodes: int = 32
    """Number of episodes in which a trained agent is evaluated."""

    def __post_init__(self) -> None:
        at_least(1, self, "episodes", prefix="eval.")
        at_least(2, self, "rates", "tuning_seeds", "seeds", prefix="eval.")
        positive(self, "smallest_rate", prefix="eval.")
        if not self.smallest_rate < self.largest_rate:
            raise ValueError(
                f"eval: expected smallest-rate < largest-rate (got {self.smallest_rate} and {self.largest_rate})"
            )

    @property
    def grid(self) -> np.ndarray:
        """The learning rates `[rates]`."""
        return np.geomspace(self.smallest_rate, self.largest_rate, self.rates).astype(np.float32)


@dataclass(frozen=True)
class Tuned:
    """The settings that were chosen for a method.

    Attributes:
        rate: the learning rate.
        variant: the other settings, by their name among those that were tried ("constant" or "annealed" rate).
        at_edge: whether the rate is the smallest or the largest of the grid, so that another might be better.
        scores: by variant, the mean fitness at each rate.
    """

    rate: float
    variant: str
    at_edge: bool
    scores: dict[str, list[float]]

    def __str__(self) -> str:
        return f"{self.rate:.2g}, {self.variant}"


def tune(config: TuningConfig, fitness: str, testers: Mapping[str, Tester]) -> Tuned:
    """The learning rate and the variant with the largest mean fitness over the seeds TUNING.

    `testers` are by variant.
    """
    keys, grid = agent_keys(TUNING, config.tuning_seeds), config.grid
    scores = {
        variant: [float(fitness_of(fitness, test(keys, rate)).mean()) for rate in grid]
        for variant, test in testers.items()
    }
    variant = max(scores, key=lambda variant: max(scores[variant]))
    best = int(np.argmax(scores[variant]))
    return Tuned(float(grid[best]), variant, best in (0, len(grid) - 1), scores)


def describe(config: TuningConfig, fitness: str) -> str:
    """The search, as text of a report: over what, by what and on which seeds."""
    measure = "mean return over the lifetime" if fitness == "lifetime" else "final return"
    return (
        f"{config.rates} learning rates from {config.smallest_rate:g} to {config.largest_rate:g}, constant and "
        f"annealed linearly to zero, by the {measure} over {config.tuning_seeds} other seeds"
    )


def fitness_of(fitness: str, result: MetaTestResult) -> np.ndarray:
    """The fitness of agents `[seeds]`, a member of FITNESS; a return that is not finite is the worst."""
    values = result.lifetime_return if fitness == "lifetime" else result.final
    return np.nan_to_num(values, nan=-np.inf)


def agent_keys(seed: int, number: int) -> Key:
    """The keys of agents `[number]`; they do not depend on the seed of the run."""
    return jax.random.split(jax.random.key(seed), number)
