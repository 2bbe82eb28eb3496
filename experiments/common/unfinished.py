"""What a run that was stopped leaves beside its checkpoint: the rule as it stands, its curves and a short report.

All of it has the names of what a finished run writes, so that it is overwritten when the run is resumed and ends.
"""

from collections.abc import Callable
from typing import Any

from experiments.common.cli import resume_line
from experiments.common.folder import RunFolder
from experiments.common.loop import Outcome
from experiments.common.report import write_report


def join_notes(about: str, note: str | None) -> str:
    """The notes of a rule file: what it is, and where the run stood if it was stopped."""
    return about if note is None else f"{about}; {note}"


def leave(
    config: Any,
    folder: RunFolder,
    outcome: Outcome,
    title: str,
    curves: Callable[[], str],
    export: Callable[[str], object] | None = None,
) -> None:
    """Write `report.md` of a stopped run, and print how to go on.

    Args:
        config: of the study.
        folder: of the run.
        outcome: where it was stopped.
        title: of the finished report.
        curves: draws the curves so far and returns the Markdown that shows them, empty where there are none.
        export: writes the rule as it stands, with a note that says so; None for a study without a rule.
    """
    note, line = outcome.note, resume_line(folder.command)
    text = f"**The run is not finished**: {note} ({outcome.reason}). To go on:\n\n```\n{line}\n```"
    if export is not None:
        export(note)
        text += "\n\nThe rule file holds the rule as it stands."
    sections = {"Not finished": text}
    if shown := curves():
        sections["So far"] = shown
    write_report(folder, title, config, sections)
    print(f"{note} ({outcome.reason}); to go on:\n  {line}", flush=True)
