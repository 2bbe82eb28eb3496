"""Meta-training and meta-testing of an optimizer."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.cli.study import StudyRun, export_rule, meta_train, run_study
from experiments.cli.tasks import CURVE, make_task
from experiments.optimizer import measure
from experiments.optimizer.build import Study, build
from experiments.optimizer.config import StudyConfig
from experiments.optimizer.report import learning_curves, title, write
from lopt.evaluation import OptimizerTester
from lopt.training import Logger, Outcome, RunFolder, status, untrained
from lopt.types import Key, MetaState


def main(config: StudyConfig) -> Outcome:
    """Meta-train the optimizer, then compare it with tuned baselines on the task of meta-training and on others."""
    study = build(config)
    return run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(meta_train, config, study.learner, partial(Validation, config, study)),
            curves=learning_curves,
            report=partial(meta_test, config, study),
            export=partial(export, config, study),
        )
    )


def export(config: StudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write the optimizer with its current meta-parameters as a rule file."""
    notes = f"trained on {config.training.task}, lifetimes of {config.training.num_updates} updates"
    return export_rule(config, folder, outcome, study.rule, outcome.state.theta, notes)


def meta_test(config: StudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> None:
    """Compare the optimizer with its untrained self and tuned baselines on every task, and write the report."""
    thetas = {"learned": jax.device_get(outcome.state.theta), "untrained": untrained(config.run, study.learner.init)}
    results = {}
    for name in dict.fromkeys((config.training.task, *config.eval.tasks)):
        with status(f"meta-testing on {name}, and tuning the baselines", config.run.progress):
            results[name] = measure.compare(config, study.rule, thetas, name)
    write(config, folder, results)


class Validation:
    """Hook that trains a fixed set of learners of the task of meta-training with the current rule."""

    def __init__(self, config: StudyConfig, study: Study):
        tester = OptimizerTester(
            task=make_task(config.training.task),
            num_updates=config.training.num_updates,
            batch_size=config.eval.tuning_seeds,
        )
        self.losses, self.number = tester.losses(study.rule), config.eval.tuning_seeds

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean held-out loss after the last update, and the mean training loss over the lifetime."""
        losses, curves = self.losses(state.theta, CURVE, self.number)
        metrics = {"validation/final_loss": float(losses.mean()), "validation/mean_loss": float(np.nanmean(curves))}
        logger.log(step, metrics)
        logger.message(f"meta-step {step}: held-out loss {losses.mean():.3f} after the last update")
