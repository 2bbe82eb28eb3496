"""Meta-trains an in-context learner and evaluates it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.cli.study import StudyRun, export_rule, meta_train, run_study
from experiments.incontext.gpicl import measure, sweep
from experiments.incontext.gpicl.build import Study, build
from experiments.incontext.gpicl.config import StudyConfig
from experiments.incontext.gpicl.report import UNSEEN, Results, curve_positions, learning_curves, title, write
from lopt.evaluation import SequenceTester
from lopt.rules import Card, describe
from lopt.training import Logger, Outcome, RunFolder, read_metrics, status
from lopt.types import Key, MetaState


def main(config: StudyConfig) -> Outcome:
    """Make one run, or a sweep of runs if `sweep.option` is set, and write the report."""
    if config.sweep.option:
        return sweep.main(config, single_run)
    return single_run(config)


def single_run(config: StudyConfig) -> Outcome:
    """Make one run: meta-train, evaluate, export the rule and write the report."""
    study = build(config)
    testers = measure.meta_testers(study, config.eval.datasets)
    validation, headline = partial(Validation, config, study), ("meta_loss", "accuracy_last")
    return run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(meta_train, config, study.learner, validation, headline=headline),
            curves=partial(learning_curves, config),
            report=partial(evaluate, config, study, testers),
            export=partial(export, config, study),
        )
    )


def export(
    config: StudyConfig, study: Study, folder: RunFolder, outcome: Outcome, unseen: dict[str, Any] | None = None
) -> Path:
    """Write the model with its current meta-parameters as a rule file, which `lopt.load` reads.

    `unseen` is `SequenceResult.summary` on unseen tasks, for the card's metrics.
    """
    notes = f"trained on random projections of {config.tasks.dataset}"
    metrics = {}
    if unseen is not None:
        metrics = {name: float(np.round(unseen[name], 4)) for name in ("first", "last")}
        notes += "; metrics are accuracies on unseen tasks"
    classifier = Card("lopt.incontext.Classifier", {"model": describe(study.model), "length": config.tasks.length})
    return export_rule(config, folder, outcome, classifier, outcome.state.theta, notes, metrics=metrics)


def evaluate(
    config: StudyConfig,
    study: Study,
    testers: Mapping[str, SequenceTester],
    folder: RunFolder,
    outcome: Outcome,
) -> None:
    """Evaluate the model on seen tasks, unseen tasks and other data sets, and write the report."""
    theta, number = jax.device_get(outcome.state.theta), config.eval.final_sequences
    curves, references = {}, {}
    for name, tester in testers.items():
        with status(f"evaluating {name}", config.run.progress):
            curves[name] = tester(theta, measure.REPORT_SEED, number)
            references[name] = tester.references(measure.REFERENCES, measure.REPORT_SEED, number)
    plateau = measure.plateau(read_metrics(folder.file("metrics.jsonl")), config.tasks.slots)
    parameters = sum(x.size for x in jax.tree.leaves(theta))
    results = Results(curves, references, plateau, study.model.state_size(config.tasks.length), parameters)
    export(config, study, folder, outcome, results.curves[UNSEEN].summary())
    write(config, folder, results)


class Validation:
    """A hook that logs the learning curve: losses and accuracies on fixed sequences of seen and of unseen tasks."""

    def __init__(self, config: StudyConfig, study: Study):
        self.testers = {
            "seen": SequenceTester(study.seen, study.model, held_out=False),
            "unseen": SequenceTester(study.unseen, study.model),
        }
        self.number, self.positions = config.eval.sequences, curve_positions(config)

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log `{seen,unseen}/loss`, the mean over positions, and `{seen,unseen}/accuracy_{t}` at some positions t."""
        metrics = {}
        for name, tester in self.testers.items():
            measurement = tester(state.theta, measure.CURVE_SEED, self.number)
            metrics[f"{name}/loss"] = float(measurement.loss.mean())
            accuracy = measurement.accuracy
            metrics |= {f"{name}/accuracy_{t}": float(accuracy[:, t - 1].mean()) for t in self.positions}
        logger.log(step, metrics)
        first, last = (metrics[f"unseen/accuracy_{t}"] for t in (self.positions[0], self.positions[-1]))
        logger.message(
            f"meta-step {step}: unseen tasks, accuracy {first:.2f} at the first position, {last:.2f} at the last"
        )
