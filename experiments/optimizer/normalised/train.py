"""Meta-training and meta-testing of the normalised rule."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.cli.study import StudyRun, export_rule, meta_train, run_study
from experiments.cli.tasks import CURVE, make_task
from experiments.optimizer.normalised import measure
from experiments.optimizer.normalised.build import Study, build
from experiments.optimizer.normalised.config import NormalisedStudyConfig
from experiments.optimizer.normalised.report import learning_curves, title, write
from lopt.evaluation import OptimizerTester
from lopt.optimizers import NormalisedRule
from lopt.rules import load_rule, rebuild
from lopt.training import Logger, Outcome, RunFolder, status, untrained
from lopt.types import Key, MetaState, Theta

VALIDATION_UPDATES = 200
"""Number of updates of the learners of the validation curve."""


def main(config: NormalisedStudyConfig) -> None:
    """Meta-train the rule on all tasks, then compare it with tuned baselines on held-out ones."""
    others = {f"{measure.LEARNED}, {path}": read(config, path) for path in config.eval.rules}
    study = build(config)
    run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(meta_train, config, study.learner, partial(Validation, config, study)),
            curves=partial(learning_curves, config),
            report=partial(meta_test, config, study, others),
            export=partial(export, config, study) if config.meta.num_steps else None,
        )
    )


def read(config: NormalisedStudyConfig, path: str) -> Theta:
    """The meta-parameters of another rule file of this study.

    Raises:
        ValueError: no rule file, or the rule of another architecture.
    """
    rule = load_rule(path)
    part = rebuild(rule.card)
    if not isinstance(part, NormalisedRule) or part.hidden != config.rule.hidden:
        raise ValueError(f"eval.rules: {path} must be a NormalisedRule of widths {config.rule.hidden} (got {part!r})")
    return rule.theta


def export(config: NormalisedStudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write the optimizer with its current meta-parameters as a rule file."""
    training = config.training
    notes = (
        f"trained on {', '.join(training.tasks)}, lifetimes of {training.shortest} to {training.num_updates} updates; "
        "learning rate and schedule are the user's"
    )
    return export_rule(config, folder, outcome, study.rule, outcome.state.theta, notes)


def meta_test(
    config: NormalisedStudyConfig, study: Study, others: dict[str, Theta], folder: RunFolder, outcome: Outcome
) -> None:
    """Compare the rule with its initial form and tuned baselines on every task, and write the report."""
    thetas = {measure.LEARNED: jax.device_get(outcome.state.theta)} if config.meta.num_steps else {}
    thetas |= {measure.INITIAL: untrained(config.run, study.learner.init)} | others
    results, record = {}, measure.Record(folder.file("measured.json"))
    for task in config.eval.tasks:
        with status(f"tuning and meta-testing on {task}", config.run.progress):
            results[task] = measure.compare(config, study.rule, thetas, task, record)
    write(config, folder, results)


class Validation:
    """Hook that trains fixed learners of tasks of meta-training with the current rule, at the central learning rate."""

    def __init__(self, config: NormalisedStudyConfig, study: Study):
        self.number, self.parts = config.eval.tuning_seeds, {}
        rates = dict(zip(config.training.tasks, config.peak_rates, strict=True))
        for name in config.eval.validation:
            tester = OptimizerTester(task=make_task(name), num_updates=VALIDATION_UPDATES, batch_size=self.number)
            losses = tester.losses(measure.Annealed(study.rule.optimizer, VALIDATION_UPDATES))
            self.parts[name] = (losses, np.float32(rates[name]))

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean log10 of the held-out loss after the last update, for every task."""
        metrics = {}
        for name, (losses, rate) in self.parts.items():
            metrics[f"validation/{name}"] = float(np.log10(losses((state.theta, rate), CURVE, self.number)[0]).mean())
        logger.log(step, metrics)
        values = ", ".join(f"{name.split('/')[1]} {value:.3f}" for name, value in metrics.items())
        logger.message(f"meta-step {step}: log10 of the held-out loss: {values}")
