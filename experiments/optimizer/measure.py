"""Meta-testing of optimizers: learners trained from scratch by a learned optimizer and by tuned baselines."""

from functools import partial
from typing import Any

import numpy as np

from experiments.cli.tasks import TABLE, TUNING, make_task
from experiments.optimizer.config import BASELINES, StudyConfig
from lopt.evaluation import OptimizerResult, OptimizerTester
from lopt.optimizers import FromOptax
from lopt.protocols import LearnedOptimizer
from lopt.types import Theta


def compare(
    config: StudyConfig, rule: LearnedOptimizer, thetas: dict[str, Theta], name: str
) -> dict[str, OptimizerResult]:
    """Meta-test the rule with every member of `thetas`, and every baseline with its tuned rate, on the task `name`.

    The tuned rate has the smallest mean held-out loss over the seeds TUNING; the results are of the seeds TABLE.
    """
    sizes = config.eval
    tester = OptimizerTester(
        task=make_task(name), num_updates=config.training.num_updates, batch_size=sizes.tuning_seeds
    )
    rule_losses = tester.losses(rule)
    results = {label: _measured(rule_losses(theta, TABLE, sizes.seeds)) for label, theta in thetas.items()}
    for label, make in BASELINES.items():
        baseline_losses = tester.losses(FromOptax(partial(_by_rate, make)))
        rates = np.geomspace(sizes.smallest_rate, sizes.largest_rate, sizes.rates).astype(np.float32)
        losses = [baseline_losses(rate, TUNING, sizes.tuning_seeds)[0].mean() for rate in rates]
        best = rates[int(np.argmin(losses))]
        results[label] = _measured(baseline_losses(best, TABLE, sizes.seeds), float(best))
    return results


def _by_rate(make: Any, theta: Any) -> Any:
    return make(theta)


def _measured(out: tuple[np.ndarray, np.ndarray], rate: float | None = None) -> OptimizerResult:
    losses, curves = out
    return OptimizerResult(losses, np.nanmean(curves, 0), rate)
