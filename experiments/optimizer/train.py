"""Meta-training and meta-testing of an optimizer."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.cli.tasks import CURVE, make_task
from experiments.optimizer import measure
from experiments.optimizer.build import Study, build
from experiments.optimizer.config import StudyConfig
from experiments.optimizer.report import learning_curves, title, write
from lopt.evaluation import OptimizerTester, join_notes, report_unfinished
from lopt.export import card_of, save_rule
from lopt.training import Hook, Logger, Outcome, RunFolder, command_line, open_folder, run, status, untrained
from lopt.types import Key, MetaState, Theta


def main(config: StudyConfig) -> None:
    """Meta-train the optimizer, then compare it with tuned baselines on the task of meta-training and on others."""
    study = build(config)
    folder = open_folder(config, command_line())
    outcome = train(config, study, folder)
    theta = jax.device_get(outcome.state.theta)
    save = partial(export, config, study, folder, theta, outcome.step)
    if outcome.stopped:
        report_unfinished(config, folder, outcome, title(config), partial(learning_curves, folder), save)
        return
    save()
    thetas = {"learned": theta, "untrained": untrained(config.run, study.init)}
    results = {}
    for name in dict.fromkeys((config.training.task, *config.eval.tasks)):
        with status(f"meta-testing on {name}, and tuning the baselines", config.run.progress):
            results[name] = measure.compare(config, study.rule, thetas, name)
    write(config, folder, results)
    print(f"report: {folder.path / 'report.md'}")


def train(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    """Run the outer loop, with validation as a hook."""
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.learner.step,
        num_steps=config.meta.num_steps,
        chunk=config.meta.steps_per_chunk,
        hooks=[Hook(config.eval.every, Validation(config, study), at_start=True)],
        headline=("meta_loss",),
        finite=("meta_loss",),
        unit="meta-step",
    )


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


def export(
    config: StudyConfig, study: Study, folder: RunFolder, theta: Theta, steps: int, note: str | None = None
) -> Path:
    """Write `rule.npz` and `rule.json`.

    Args:
        config: of the study.
        study: of the configuration.
        folder: of the run.
        theta: meta-parameters of the rule.
        steps: meta-steps that were made.
        note: where the run was stopped; None if it is finished.
    """
    about = f"trained on {config.training.task}, lifetimes of {config.training.num_updates} updates"
    card = card_of(
        study.rule,
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        notes=join_notes(about, note),
    )
    return save_rule(folder.file("rule"), theta, card)
