"""Suites of levels: agents trained from scratch by an objective on grid worlds, mazes and delayed chains."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from envs import CHAIN_SETS, Fixed
from experiments.cli.command_line import choose
from experiments.cli.levels import LEVELS
from experiments.suites.candidates import Candidate
from experiments.suites.suite import Scores, between
from lopt.agents import RLLifetime, default_lifetime
from lopt.evaluation import LevelTester
from lopt.objectives import A2C

RANDOM = "random"
Baseline = Callable[[Any], RLLifetime] | None
BASELINES: dict[str, Baseline] = {
    RANDOM: None,
    "a2c_raw": lambda levels: default_lifetime(levels, A2C(normalise=False), policy_rate=320.0),
    "a2c": lambda levels: default_lifetime(levels, A2C()),
}
"""How agents of a baseline are trained on a distribution of levels: A2C with the rates of its table (40 and 4,
GROOVE's), and with raw advantages at the policy rate 320, the best of a short search; None is the random policy."""

CHAINS: dict[str, Callable[..., Any]] = {make.__name__: make for make in CHAIN_SETS}
TASKS: dict[str, tuple[Mapping[str, Callable[..., Any]], tuple[str, ...]]] = {
    "grid": (LEVELS, ("all",)),
    "mazes": (LEVELS, ("mazes",)),
    "chains": (CHAINS, tuple(CHAINS)),
}
"""By suite, the level distributions and the default ones."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LevelSuite:
    """Agents trained from scratch on levels of several distributions; a score is the mean return at the end.

    An objective's agents are trained with the settings of its card.

    Attributes:
        suite: grid, mazes or chains.
        tasks: names of level distributions.
        num_levels: levels of each.
        num_seeds: agents per level and rule.
        num_updates: updates of an agent.
        num_episodes: episodes that measure an agent.
        seed: of the levels and agents.
    """

    suite: str
    tasks: tuple[str, ...]
    num_levels: int
    num_seeds: int
    num_updates: int
    num_episodes: int
    seed: int

    kinds = ("objective",)
    required = (RANDOM, "a2c")
    measure = "mean return after training"
    scale = "random = 0, A2C = 1"

    def __post_init__(self) -> None:
        for task in self.tasks:
            choose(f"task of suite {self.suite}", task, TASKS[self.suite][0])

    @property
    def baselines(self) -> Mapping[str, Baseline]:
        """Baselines by name."""
        return BASELINES

    def scores(self, candidate: Candidate, task: str) -> Scores:
        """Mean returns `[S, L]` of agents after training; those of the random policy for `random`."""
        levels, tester = self._testers[task]
        if candidate.name == RANDOM:
            keys = jax.random.split(jax.random.fold_in(tester.key_agents, 1), self.num_seeds)
            return Scores(np.stack([tester.random(key, self.num_episodes) for key in keys]))
        if candidate.kind == "baseline":
            lifetime = candidate.value(levels)
            return Scores(tester(lifetime.objective, lifetime))
        return Scores(tester(candidate.value))

    def check(self, candidate: Candidate) -> None:
        """Every objective can be evaluated."""

    def normalised(self, values: np.ndarray, required: Mapping[str, np.ndarray]) -> np.ndarray:
        """random = 0, A2C = 1, of their means on the task."""
        return between(values, required[RANDOM], required["a2c"])

    @cached_property
    def _testers(self) -> dict[str, tuple[Any, LevelTester]]:
        return {task: self._tester(task) for task in self.tasks}

    def _tester(self, task: str) -> tuple[Any, LevelTester]:
        levels = TASKS[self.suite][0][task](num_updates=Fixed(self.num_updates))
        key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(task.encode()))
        key_levels, key_agents = jax.random.split(jax.random.fold_in(key, 20_261_130))
        tester = LevelTester(
            levels=levels,
            num_levels=self.num_levels,
            num_seeds=self.num_seeds,
            num_episodes=self.num_episodes,
            key_levels=key_levels,
            key_agents=key_agents,
        )
        return levels, tester
