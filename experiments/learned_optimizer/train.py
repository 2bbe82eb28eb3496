"""Meta-training an optimizer, and measuring it."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.logging import Logger
from experiments.common.loop import Hook, Outcome, run, untrained
from experiments.common.progress import status
from experiments.common.unfinished import join_notes, leave
from experiments.learned_optimizer import measure
from experiments.learned_optimizer.build import Study, build
from experiments.learned_optimizer.config import StudyConfig
from experiments.learned_optimizer.names import TASKS
from experiments.learned_optimizer.report import learning, title, write
from lopt.export import card_of, save_rule
from lopt.types import Key, MetaState, Theta


def main(config: StudyConfig) -> None:
    """Meta-train, then compare with tuned optimizers on the task of training and on others."""
    study = build(config)
    folder = open_folder(config, command_line())
    outcome = train(config, study, folder)
    theta = jax.device_get(outcome.state.theta)
    keep = partial(export, config, study, folder, theta, outcome.step)
    if outcome.stopped:
        leave(config, folder, outcome, title(config), partial(learning, folder), keep)
        return
    keep()
    thetas = {"learned": theta, "untrained": untrained(config.run, study.init)}
    results = {}
    for name in dict.fromkeys((config.training.task, *config.eval.tasks)):
        with status(f"measuring on {name}, and tuning what it is compared with", config.run.progress):
            results[name] = measure.compare(config, study.rule, thetas, name)
    write(config, folder, results)
    print(f"report: {folder.path / 'report.md'}")


def train(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    """The meta-training run itself."""
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
    """The learning curve: newborns of the task of training, always the same ones, live by the rule."""

    def __init__(self, config: StudyConfig, study: Study):
        gauge = measure.Gauge(TASKS[config.training.task](), config.training.lifetime, config.eval.tuning_seeds)
        self.ruled, self.number = gauge.lives(study.rule), config.eval.tuning_seeds

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean loss at the end of life, on held-out data, and the mean training loss over life."""
        losses, curves = self.ruled(state.theta, measure.CURVE, self.number)
        logger.log(step, {"newborns/final_loss": float(losses.mean()), "newborns/mean_loss": float(np.nanmean(curves))})
        logger.message(f"meta-step {step}: held-out loss {losses.mean():.3f} at the end of life")


def export(
    config: StudyConfig, study: Study, folder: RunFolder, theta: Theta, steps: int, note: str | None = None
) -> Path:
    """Write `rule.npz` and `rule.json`; `note` is where a stopped run stands."""
    about = f"trained on {config.training.task}, lives of {config.training.lifetime} updates"
    card = card_of(
        study.rule,
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        notes=join_notes(about, note),
    )
    return save_rule(folder.file("rule"), theta, card)
