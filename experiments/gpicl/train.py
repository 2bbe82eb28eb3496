"""Meta-training an in-context learner, and measuring it."""

import jax
import numpy as np

from experiments.common.cli import command_line, resume_command
from experiments.common.folder import RunFolder, open_folder
from experiments.common.logging import Logger, read_metrics
from experiments.common.loop import Hook, Outcome, run
from experiments.gpicl import measure, sweep
from experiments.gpicl.build import Study, build
from experiments.gpicl.config import StudyConfig
from experiments.gpicl.report import Results, write
from lopt.export import Card, save_rule
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
    if outcome.stopped:
        print(f"stopped at meta-step {outcome.step} ({outcome.reason}); to go on:\n  {resume_command()}")
        return outcome
    theta = jax.device_get(outcome.state.theta)
    number = config.eval.final_sequences
    curves, references = {}, {}
    for name, gauge in measured.items():
        print(f"measuring {name} ...", flush=True)
        curves[name] = gauge(theta, measure.TABLE, number)
        references[name] = gauge.references(measure.TABLE, number)
    left = measure.plateau(read_metrics(folder.file("metrics.jsonl")), config.tasks.slots)
    parameters = sum(x.size for x in jax.tree.leaves(theta))
    results = Results(curves, references, left, study.model.state_size(config.tasks.length), parameters)
    export(config, study, folder, theta, results, outcome.step)
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
    )


class Validation:
    """The learning curve: always the same sequences, of tasks that are trained on and of others."""

    def __init__(self, config: StudyConfig, study: Study):
        self.gauges = {
            "seen": measure.Gauge(study.seen, study.model, held_out=False),
            "unseen": measure.Gauge(study.unseen, study.model),
        }
        self.number, length = config.eval.sequences, config.tasks.length
        self.positions = sorted({1, max(1, length // 4), max(1, length // 2), length})

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


def export(config: StudyConfig, study: Study, folder: RunFolder, theta: Theta, results: Results, steps: int) -> None:
    """Write `rule.npz` and `rule.json`, which `lopt.load` reads."""
    model = study.model
    sizes = {name: getattr(model, name) for name in type(model).__dataclass_fields__}
    unseen = results.curves["unseen tasks"].summary()
    card = Card(
        kind="lopt.incontext.Classifier",
        config={"model": type(model).__name__, "sizes": sizes, "length": config.tasks.length},
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        metrics={name: float(np.round(unseen[name], 4)) for name in ("first", "last")},
        notes=f"trained on random projections of {config.tasks.dataset}; metrics are accuracies on unseen tasks",
    )
    save_rule(folder.file("rule"), theta, card)
