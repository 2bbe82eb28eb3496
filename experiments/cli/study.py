"""The run of a study: its folder, training, rule file and report, and what a stopped run leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lopt.evaluation import join_notes, report_unfinished
from lopt.meta import MetaLearner
from lopt.rules import Card, card_of, save_rule
from lopt.training import Hook, Logger, Outcome, RunFolder, command_line, open_folder, run, run_config
from lopt.types import Key, MetaState, Theta


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """What the run of a study consists of.

    Attributes:
        config: the configuration, with a field of type `RunConfig`.
        title: of the report.
        train: runs or resumes the training loop: `lopt.training.run`, `run_on_host` or `meta_train`.
        curves: draws the learning curves so far; returns the Markdown that shows them, empty without any.
        report: evaluates what a finished run trained, and writes `report.md` and `results.json`.
        export: writes the rule file of the last state; returns its path, None before there is a rule. None for a study
            without one.
    """

    config: Any
    title: str
    train: Callable[[RunFolder], Outcome]
    curves: Callable[[RunFolder], str]
    report: Callable[[RunFolder, Outcome], None]
    export: Callable[[RunFolder, Outcome], Path | None] | None = None


def run_study(study: StudyRun) -> Outcome:
    """Open the folder, train, write the rule file, and write the report, a short one if the run was stopped."""
    folder = open_folder(study.config, command_line())
    try:
        outcome = study.train(folder)
        rule = study.export(folder, outcome) if study.export is not None else None
        if outcome.stopped:
            report_unfinished(study.config, folder, outcome, study.title, study.curves(folder), rule is not None)
        else:
            study.report(folder, outcome)
            print(f"report: {folder.path / 'report.md'}")
        return outcome
    finally:
        folder.close()


def meta_train(
    config: Any,
    learner: MetaLearner,
    validation: Callable[[], Callable[[Key, int, MetaState, Logger], None]],
    folder: RunFolder,
    headline: Sequence[str] = ("meta_loss",),
) -> Outcome:
    """Run the outer loop of a study with the options `config.run`, `config.meta` and `config.eval.every`.

    `validation` makes the hook that is called before the first meta-step and after every `config.eval.every`.
    """
    hook = Hook(config.eval.every, validation(), at_start=True)
    return run(
        config.run,
        folder,
        init=learner.init,
        step=learner.step,
        num_steps=config.meta.num_steps,
        chunk=config.meta.steps_per_chunk,
        hooks=[hook],
        headline=headline,
        finite=("meta_loss",),
        unit="meta-step",
    )


def export_rule(
    config: Any,
    folder: RunFolder,
    outcome: Outcome,
    rule: Any,
    theta: Theta,
    notes: str,
    name: str = "rule",
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Write a rule file with the command, the seed and the steps of the run.

    Args:
        config: of the study.
        folder: of the run.
        outcome: its end; if it was stopped, the notes say so.
        rule: what `theta` belongs to: an instance of a dataclass, or a `Card` of it.
        theta: the meta-parameters.
        notes: what the rule was trained on.
        name: of the file.
        metrics: final metrics, as plain data.
    """
    card = replace(
        rule if isinstance(rule, Card) else card_of(rule),
        command=folder.command,
        seed=run_config(config).seed,
        meta_steps=outcome.step,
        metrics=metrics or {},
        notes=join_notes(notes, outcome.note if outcome.stopped else None),
    )
    return save_rule(folder.file(name), theta, card)
