"""Meta-training an in-context learner, and measuring it."""

from functools import partial

import jax
import numpy as np

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.logging import Logger, read_metrics
from experiments.common.loop import Hook, Outcome, run
from experiments.common.progress import status
from experiments.common.unfinished import join_notes, leave
from experiments.gpicl import measure, sweep
from experiments.gpicl.build import Study, build
from experiments.gpicl.config import StudyConfig
from experiments.gpicl.report import Results, learning, places, title, write
from lopt.export import Card, describe, save_rule
from lopt.types import Key, MetaState, Theta


def main(config: StudyConfig) -> None:
    """Meta-train one model, or one for every value of a sweep, and say what each has learned."""
    if config.sweep.option:
        sweep.main(config, single)
    else:
        single(config)


def single(config: StudyConfig) -> Outcome:
    """One run, from an open folder to its report."""
    study = build(config)
    folder = open_folder(config, command_line())
    try:
        return _train_and_measure(config, study, folder)
    finally:
        folder.close()


def _train_and_measure(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    measured = measure.gauges(study, config.eval.datasets)
    outcome = train(config, study, folder)
    theta = jax.device_get(outcome.state.theta)
    keep = partial(export, config, study, folder, theta, outcome.step)
    if outcome.stopped:
        leave(config, folder, outcome, title(config), partial(learning, config, folder), keep)
        return outcome
    number = config.eval.final_sequences
    curves, references = {}, {}
    for name, gauge in measured.items():
        with status(f"measuring {name}", config.run.progress):
            curves[name] = gauge(theta, measure.TABLE, number)
            references[name] = gauge.references(measure.TABLE, number)
    left = measure.plateau(read_metrics(folder.file("metrics.jsonl")), config.tasks.slots)
    parameters = sum(x.size for x in jax.tree.leaves(theta))
    results = Results(curves, references, left, study.model.state_size(config.tasks.length), parameters)
    keep(results=results)
    write(config, folder, results)
    print(f"report: {folder.path / 'report.md'}")
    return outcome


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
        headline=("meta_loss", "accuracy_last"),
        finite=("meta_loss",),
        unit="meta-step",
    )


class Validation:
    """The learning curve: always the same sequences, of tasks that are trained on and of others."""

    def __init__(self, config: StudyConfig, study: Study):
        self.gauges = {
            "seen": measure.Gauge(study.seen, study.model, held_out=False),
            "unseen": measure.Gauge(study.unseen, study.model),
        }
        self.number, self.positions = config.eval.sequences, places(config)

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the accuracy at some positions, and the mean loss."""
        told = {}
        for name, gauge in self.gauges.items():
            found = gauge(state.theta, measure.CURVE, self.number)
            told[f"{name}/loss"] = float(found.loss.mean())
            told |= {f"{name}/accuracy_{t}": float(found.accuracy[:, t - 1].mean()) for t in self.positions}
        logger.log(step, told)
        first, last = (told[f"unseen/accuracy_{t}"] for t in (self.positions[0], self.positions[-1]))
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
    """Write `rule.npz` and `rule.json`, which `lopt.load` reads; `note` is where a stopped run stands, which has no
    results."""
    model, about = study.model, f"trained on random projections of {config.tasks.dataset}"
    metrics = {}
    if results is not None:
        unseen = results.curves["unseen tasks"].summary()
        metrics = {name: float(np.round(unseen[name], 4)) for name in ("first", "last")}
        about += "; metrics are accuracies on unseen tasks"
    card = Card(
        kind="lopt.incontext.Classifier",
        config={"model": describe(model), "length": config.tasks.length},
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        metrics=metrics,
        notes=join_notes(about, note),
    )
    save_rule(folder.file("rule"), theta, card)
