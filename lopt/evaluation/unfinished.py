"""Output of a stopped run besides its checkpoint: the current rule, learning curves and a short report.

The files have the names of a finished run's, and are overwritten when the resumed run ends.
"""

from collections.abc import Callable
from typing import Any

from lopt.evaluation.report import write_report
from lopt.training.command import resume_line
from lopt.training.folder import RunFolder
from lopt.training.loop import Outcome


def join_notes(description: str, note: str | None) -> str:
    """The notes of a rule file: a description, and the step of the run if it was stopped."""
    return description if note is None else f"{description}; {note}"


def report_unfinished(
    config: Any,
    folder: RunFolder,
    outcome: Outcome,
    title: str,
    curves: Callable[[], str],
    export: Callable[[str], object] | None = None,
) -> None:
    """Write `report.md` of a stopped run, and print the command that resumes it.

    Args:
        config: the study's configuration.
        folder: the run's folder.
        outcome: the end of the run.
        title: of the report of a finished run.
        curves: plots the learning curves and returns the Markdown that shows them, empty without any.
        export: writes the current rule with a note that the run is not finished; None for a study without a rule.
    """
    note, line = outcome.note, resume_line(folder.command)
    text = f"**The run is not finished**: {note} ({outcome.reason}). To go on:\n\n```\n{line}\n```"
    if export is not None:
        export(note)
        text += "\n\nThe rule file holds the current rule."
    sections = {"Not finished": text}
    if shown := curves():
        sections["Learning curves"] = shown
    write_report(folder, title, config, sections)
    print(f"{note} ({outcome.reason}); to go on:\n  {line}", flush=True)
