"""The suite of supervised tasks: models trained from scratch by learned optimizers, programs and tuned baselines."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optax

from experiments.cli.tasks import make_task
from experiments.optimizer.config import BASELINES as OPTIMIZERS
from experiments.suites.candidates import Candidate
from experiments.suites.suite import Scores
from lopt.evaluation import OptimizerTester
from lopt.optimizers import FromOptax
from lopt.protocols import LearnedOptimizer
from lopt.training.checks import at_least
from lopt.types import Theta

BASELINES: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    **{name.lower(): make for name, make in OPTIMIZERS.items() if name != "Adam"},
    "adam": optax.adam,
}
"""Baselines as functions of a learning rate or schedule."""
DEFAULT_TASKS = ("digits", "digits_deep", "digits_autoencoder", "breast_cancer", "diabetes")


@dataclass(frozen=True, eq=False, kw_only=True)
class SupervisedSuite:
    """Models trained from scratch; a score is the held-out loss after the last update (smaller is better).

    Every optimizer with a learning rate, programs among them, is tuned for each task over as many rates, by the mean
    loss of other seeds, under a cosine schedule to zero. A learned optimizer without a rate is used as it is.

    Attributes:
        tasks: supervised tasks (`experiments.cli.tasks`).
        num_seeds: models per rule and task.
        num_updates: updates of a model.
        rates: the grid of learning rates.
        tuning_seeds: models by which a rate is chosen.
        seed: of the models.
    """

    tasks: tuple[str, ...]
    num_seeds: int
    num_updates: int
    rates: tuple[float, ...]
    tuning_seeds: int
    seed: int

    kinds = ("optimizer", "program")
    required = ("adam",)
    measure = "held-out loss after training (smaller is better)"
    scale = "log10 of the loss relative to tuned Adam, paired by seed (smaller is better)"

    def __post_init__(self) -> None:
        at_least(1, self, "num_seeds", "num_updates", "tuning_seeds")
        for task in self.tasks:
            make_task(task)

    @property
    def baselines(self) -> Mapping[str, Any]:
        """Baselines by name."""
        return BASELINES

    def scores(self, candidate: Candidate, task: str) -> Scores:
        """Held-out losses `[seeds, 1]`."""
        seed = (zlib.crc32(task.encode()) ^ self.seed) % 2**31
        optimizer, rates = self._optimizer(candidate)

        def losses(theta: Theta, seed: int, number: int) -> np.ndarray:
            tester = OptimizerTester(task=make_task(task), num_updates=self.num_updates, batch_size=number)
            return tester.losses(optimizer)(theta, seed, number)[0]

        if not rates:
            return Scores(losses((), seed, self.num_seeds)[:, None])
        tuning = OptimizerTester(task=make_task(task), num_updates=self.num_updates, batch_size=self.tuning_seeds)
        run = tuning.losses(optimizer)
        means = [float(run(np.float32(rate), seed + 1, self.tuning_seeds)[0].mean()) for rate in rates]
        best = int(np.argmin(means))
        values = losses(np.float32(rates[best]), seed, self.num_seeds)
        return Scores(values[:, None], {"learning_rate": float(rates[best]), "at_edge": best in (0, len(rates) - 1)})

    def check(self, candidate: Candidate) -> None:
        """Every optimizer can be evaluated."""

    def normalised(self, values: np.ndarray, required: Mapping[str, np.ndarray]) -> np.ndarray:
        """log10 of the loss relative to that of tuned Adam with the same seed."""
        return np.log10(np.maximum(values, 1e-12)) - np.log10(np.maximum(required["adam"], 1e-12))

    def _optimizer(self, candidate: Candidate) -> tuple[LearnedOptimizer, tuple[float, ...]]:
        """The optimizer, and the rates that it is tuned over; none for one without a rate."""
        if candidate.kind == "baseline":
            return FromOptax(lambda rate: candidate.value(partial(self._schedule, rate))), self.rates
        return candidate.optimizer(self._schedule), candidate.rates(self.rates)

    def _schedule(self, rate: Any, count: Any) -> Any:
        return rate * optax.cosine_decay_schedule(1.0, self.num_updates)(count)
