"""Meta-trains an in-context learner and evaluates it."""

from functools import partial

import jax
import numpy as np

from experiments.incontext.gpicl import measure, sweep
from experiments.incontext.gpicl.build import Study, build
from experiments.incontext.gpicl.config import StudyConfig
from experiments.incontext.gpicl.report import UNSEEN, Results, curve_positions, learning_curves, title, write
from lopt.evaluation import join_notes, report_unfinished
from lopt.export import Card, describe, save_rule
from lopt.training import Hook, Logger, Outcome, RunFolder, command_line, open_folder, read_metrics, run, status
from lopt.types import Key, MetaState, Theta


def main(config: StudyConfig) -> None:
    """Make one run, or a sweep of runs if `sweep.option` is set, and write the report."""
    if config.sweep.option:
        sweep.main(config, single_run)
    else:
        single_run(config)


def single_run(config: StudyConfig) -> Outcome:
    """Make one run: open its folder, meta-train, evaluate, export the rule and write the report."""
    study = build(config)
    folder = open_folder(config, command_line())
    try:
        return _train_and_evaluate(config, study, folder)
    finally:
        folder.close()


def _train_and_evaluate(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    testers = measure.meta_testers(study, config.eval.datasets)
    outcome = train(config, study, folder)
    theta = jax.device_get(outcome.state.theta)
    export_theta = partial(export, config, study, folder, theta, outcome.step)
    if outcome.stopped:
        report_unfinished(
            config, folder, outcome, title(config), partial(learning_curves, config, folder), export_theta
        )
        return outcome
    number = config.eval.final_sequences
    curves, references = {}, {}
    for name, tester in testers.items():
        with status(f"evaluating {name}", config.run.progress):
            curves[name] = tester(theta, measure.REPORT_SEED, number)
            references[name] = tester.references(measure.REPORT_SEED, number)
    plateau = measure.plateau(read_metrics(folder.file("metrics.jsonl")), config.tasks.slots)
    parameters = sum(x.size for x in jax.tree.leaves(theta))
    results = Results(curves, references, plateau, study.model.state_size(config.tasks.length), parameters)
    export_theta(results=results)
    write(config, folder, results)
    print(f"report: {folder.path / 'report.md'}")
    return outcome


def train(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    """Meta-train for `meta.num_steps` meta-steps, with a `Validation` every `eval.every`."""
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.learner.step,
        num_steps=config.meta.num_steps,
        chunk=config.meta.steps_per_chunk,
        hooks=[Hook(config.eval.every, Validation(config, study), at_start=True)],
        headline=("meta_loss", "accuracy_last"),
        finite=("meta_loss",),
        unit="meta-step",
    )


class Validation:
    """A hook that logs the learning curve: losses and accuracies on fixed sequences of seen and of unseen tasks."""

    def __init__(self, config: StudyConfig, study: Study):
        self.testers = {
            "seen": measure.SequenceTester(study.seen, study.model, held_out=False),
            "unseen": measure.SequenceTester(study.unseen, study.model),
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


def export(
    config: StudyConfig,
    study: Study,
    folder: RunFolder,
    theta: Theta,
    steps: int,
    note: str | None = None,
    results: Results | None = None,
) -> None:
    """Write `rule.npz` and `rule.json`, which `lopt.load` reads.

    Args:
        config: configuration of the run.
        study: its parts.
        folder: its folder.
        theta: meta-parameters.
        steps: meta-steps done.
        note: progress of a stopped run, for the card.
        results: results of a finished run, for the card's metrics.
    """
    model, notes = study.model, f"trained on random projections of {config.tasks.dataset}"
    metrics = {}
    if results is not None:
        unseen = results.curves[UNSEEN].summary()
        metrics = {name: float(np.round(unseen[name], 4)) for name in ("first", "last")}
        notes += "; metrics are accuracies on unseen tasks"
    card = Card(
        kind="lopt.incontext.Classifier",
        config={"model": describe(model), "length": config.tasks.length},
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        metrics=metrics,
        notes=join_notes(notes, note),
    )
    save_rule(folder.file("rule"), theta, card)
