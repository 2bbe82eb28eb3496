"""Meta-testing: learners trained from scratch by the learned optimizer and by baselines, each with its rate tuned."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from optax import contrib

from experiments.cli.tasks import TABLE, TUNING, make_task
from experiments.optimizer.normalised.config import NormalisedStudyConfig
from lopt import lion
from lopt.evaluation import OptimizerTester, json_data
from lopt.optimizers import NormalisedRule
from lopt.training import write_json
from lopt.types import Key, Theta

INITIAL, LEARNED = "initial", "learned"
"""The rule with its initial meta-parameters, and after meta-training."""


@dataclass(frozen=True)
class Baseline:
    """A family of optimizers.

    Attributes:
        make: function from a learning rate or schedule to an optax transformation.
        grid: factor on the learning rates of the tuning grid.
    """

    make: Callable[[Any], optax.GradientTransformation]
    grid: float = 1.0

    def __call__(self, theta: Theta, rate: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer with a schedule; it has no meta-parameters."""
        return self.make(rate)


BASELINES = {
    "Adam": Baseline(optax.adam),
    "Adam, b2 = 0.95": Baseline(lambda rate: optax.adam(rate, b2=0.95)),
    "AdamW": Baseline(lambda rate: optax.adamw(rate, weight_decay=0.1)),
    "NAdamW": Baseline(lambda rate: optax.nadamw(rate, weight_decay=0.01)),
    "Lion": Baseline(lambda rate: lion(rate, weight_decay=0.1), 0.1),
    "Muon": Baseline(contrib.muon),
    "Prodigy": Baseline(contrib.prodigy, 30.0),
}
"""Baselines; AdamW and Lion have a weight decay of 0.1, NAdamW of 0.01; Muon updates what is no matrix by Adam."""


@dataclass(frozen=True)
class Annealed:
    """An optimizer under a cosine schedule as a `LearnedOptimizer`; theta is its meta-parameters and its peak rate.

    Attributes:
        make: function from meta-parameters and a schedule to an optax transformation.
        num_updates: length of the schedule.
    """

    make: Callable[[Theta, optax.Schedule], optax.GradientTransformation]
    num_updates: int

    def init(self, key: Key) -> Theta:
        """No meta-parameters of its own."""
        return ()

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The transformation for `(meta-parameters, peak rate)`."""
        inner, peak = theta
        cosine = optax.cosine_decay_schedule(1.0, self.num_updates)
        return optax.with_extra_args_support(self.make(inner, lambda count: peak * cosine(count)))


@dataclass(frozen=True)
class Result:
    """An optimizer with its tuned learning rate on one task.

    Attributes:
        losses: held-out losses of the learners of the table, `[seeds]`.
        rates: the tuning grid.
        tuning: mean held-out loss of the tuning's learners at each rate.
    """

    losses: np.ndarray
    rates: np.ndarray
    tuning: np.ndarray

    @property
    def best(self) -> int:
        """Index of the tuned learning rate."""
        return int(np.argmin(self.tuning))

    @property
    def at_edge(self) -> bool:
        """Whether the tuned rate is the smallest or the largest of the grid, so that another might be better."""
        return self.best in (0, len(self.rates) - 1)


def compare(
    config: NormalisedStudyConfig, rule: NormalisedRule, thetas: dict[str, Theta], task: str, record: "Record"
) -> dict[str, Result]:
    """Tune and test the rule with every member of `thetas`, and every baseline, on one task of the final table.

    All have a cosine schedule to zero, the same number of learning rates, the same tuning learners (seeds TUNING), and
    the same learners of the table (seeds TABLE). Results that `record` holds are not measured again.
    """
    sizes, (name, num_updates) = config.eval, config.test_tasks[config.eval.tasks.index(task)]
    tester = OptimizerTester(task=make_task(name), num_updates=num_updates, batch_size=sizes.tuning_seeds)
    grid = np.geomspace(sizes.smallest_rate, sizes.largest_rate, sizes.rates).astype(np.float32)

    def tuned(losses: Callable, theta: Theta, rates: np.ndarray) -> Result:
        tuning = np.array([losses((theta, rate), TUNING, sizes.tuning_seeds)[0].mean() for rate in rates])
        best = rates[int(np.argmin(tuning))]
        return Result(losses((theta, best), TABLE, sizes.seeds)[0], rates, tuning)

    by_rule, results = tester.losses(Annealed(rule.optimizer, num_updates)), {}
    for label, theta in thetas.items():
        results[label] = record(task, label, partial(tuned, by_rule, jax.tree.map(np.asarray, theta), grid))
    for label, baseline in BASELINES.items():
        losses, rates = tester.losses(Annealed(baseline, num_updates)), np.float32(baseline.grid) * grid
        results[label] = record(task, label, partial(tuned, losses, (), rates))
    return results


class Record:
    """Results of the table in a file of the run's folder, so that a stopped run does not measure them again."""

    def __init__(self, path: Path):
        self.path = path
        self.data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def __call__(self, task: str, label: str, measure: Callable[[], Result]) -> Result:
        """The result of an optimizer on a task: from the file, or measured and written to it."""
        row = self.data.setdefault(task, {})
        if label not in row:
            row[label] = json_data(dataclasses.asdict(measure()))
            write_json(self.path, self.data)
        return Result(**{name: np.array(values) for name, values in row[label].items()})


def best_baseline(row: dict[str, Result]) -> str:
    """Name of the baseline with the smallest loss in the tuning, which the table's learners do not enter."""
    return min(BASELINES, key=lambda name: row[name].tuning.min())
