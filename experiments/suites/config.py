"""Configuration of an evaluation; every option states its unit and the source of its default."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.agents.settings import InnerConfig
from experiments.cli.command_line import Run, choose
from experiments.suites import control, incontext, levels, supervised
from experiments.suites.control import ControlSuite
from experiments.suites.incontext import InContextSuite
from experiments.suites.levels import LevelSuite
from experiments.suites.suite import Suite
from experiments.suites.supervised import SupervisedSuite
from lopt.training import RunConfig
from lopt.training.checks import at_least


@dataclass(frozen=True)
class EvaluateConfig:
    """Trains learners from scratch under rules and baselines on a suite of tasks, and compares what they reach.

    Raises:
        ValueError: an unknown suite or task, or a number out of range.
        ImportError: an environment whose package is not installed.
    """

    run: Run = RunConfig(out="runs/evaluate")
    rules: tuple[str, ...] = ()
    """Rules to evaluate: names of shipped rules (lopt.list_rules()), paths of rule files, and baselines of the suite.
    The baselines that the scale needs are always measured; without rules, all shipped rules of the suite's kinds."""
    suite: str = "grid"
    """Suite: grid, mazes or chains (objectives, tabular agents), control or brax (drifts, optimizers and objectives,
    agents of networks), supervised (optimizers and programs) or incontext (in-context learners)."""
    tasks: tuple[str, ...] = ()
    """Tasks of the suite, by default all of grid, CartPole and Acrobot of control, and five data sets of supervised and
    incontext: level distributions, environments, tasks or data sets by their names in the other studies."""
    levels: int = 256
    """Number of levels per task of grid, mazes and chains, and of sequences per data set of incontext; other suites
    have one level per task."""
    seeds: int = 8
    """Number of agents or models per rule, task and level; incontext has one."""
    num_updates: int | None = None
    """Number of updates of an agent or model, by default 50 in grid, mazes and chains and 200 in supervised; control
    and brax have --inner.total-steps instead."""
    episodes: int = 16
    """Number of fresh episodes that measure an agent."""
    rates: int = 5
    """Number of learning rates over which every rule with a learning rate is tuned for each task of control and
    supervised, evenly spaced in the logarithm."""
    smallest_rate: float = 1e-3
    """Smallest learning rate of the grid."""
    largest_rate: float = 1e-1
    """Largest learning rate of the grid."""
    tuning_seeds: int = 8
    """Number of learners, other than those of the results, by whose mean a learning rate is chosen."""
    inner: InnerConfig = field(
        default_factory=lambda: InnerConfig(
            num_envs=16, rollout_length=32, total_steps=20_480, epochs=4, num_minibatches=4, hidden=(16, 16)
        )
    )

    def __post_init__(self) -> None:
        choose("suite", self.suite, SUITES)
        at_least(1, self, "levels", "seeds", "num_updates", "episodes", "tuning_seeds")
        at_least(2, self, "rates")
        if not 0 < self.smallest_rate < self.largest_rate:
            raise ValueError(
                f"expected 0 < smallest-rate < largest-rate (got {self.smallest_rate} and {self.largest_rate})"
            )
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: every task once (got {', '.join(self.tasks)})")

    def build(self) -> Suite:
        """The suite with these options."""
        return SUITES[self.suite](self)

    @property
    def grid(self) -> tuple[float, ...]:
        """The learning rates."""
        return tuple(np.geomspace(self.smallest_rate, self.largest_rate, self.rates).tolist())


def _levels(config: EvaluateConfig) -> Suite:
    return LevelSuite(
        suite=config.suite,
        tasks=config.tasks or levels.TASKS[config.suite][1],
        num_levels=config.levels,
        num_seeds=config.seeds,
        num_updates=config.num_updates or 50,
        num_episodes=config.episodes,
        seed=config.run.seed,
    )


def _control(config: EvaluateConfig) -> Suite:
    return ControlSuite(
        tasks=config.tasks or control.DEFAULT_TASKS[config.suite],
        num_seeds=config.seeds,
        num_episodes=config.episodes,
        inner=config.inner,
        rates=config.grid,
        tuning_seeds=config.tuning_seeds,
        seed=config.run.seed,
    )


def _supervised(config: EvaluateConfig) -> Suite:
    return SupervisedSuite(
        tasks=config.tasks or supervised.DEFAULT_TASKS,
        num_seeds=config.seeds,
        num_updates=config.num_updates or 200,
        rates=config.grid,
        tuning_seeds=config.tuning_seeds,
        seed=config.run.seed,
    )


def _incontext(config: EvaluateConfig) -> Suite:
    return InContextSuite(tasks=config.tasks or incontext.DEFAULT_TASKS, num_levels=config.levels, seed=config.run.seed)


SUITES: Mapping[str, Callable[[EvaluateConfig], Any]] = {
    "grid": _levels,
    "mazes": _levels,
    "chains": _levels,
    "control": _control,
    "brax": _control,
    "supervised": _supervised,
    "incontext": _incontext,
}
"""Suites by name."""

PRESETS = {"quick": EvaluateConfig()}
