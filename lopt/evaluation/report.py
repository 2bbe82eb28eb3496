"""Reports of studies: `report.md` in Markdown and `results.json` for programs; what a stopped run leaves behind.

Finished runs as data: read from their folders, checked to be comparable, and summarised in one document.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lopt.evaluation import plots
from lopt.evaluation.statistics import Interval
from lopt.training.folder import RunFolder, write_json, write_text
from lopt.training.loop import Outcome
from lopt.training.metrics_log import NONFINITE, read_metrics
from lopt.training.run_config import differences, identity, to_json
from lopt.training.stopping import resume_line


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; columns of numbers are aligned right, floats have three significant digits.

    Raises:
        ValueError: a row that is longer or shorter than the header.
    """
    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"table: a row must have {len(header)} cells (got {len(row)}: {row})")
    numeric = [
        bool(rows) and all(isinstance(row[i], (int, float, Interval)) for row in rows) for i in range(len(header))
    ]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [header, rule, *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def image(name: str, caption: str) -> str:
    """Markdown for an image file of the run folder, with a caption."""
    return f"![{caption}]({name.replace(' ', '%20')})\n\n*{caption}*"


def curves(
    folder: RunFolder,
    panels: plots.Panels,
    xlabel: str,
    lines: Mapping[str, Mapping[str, float]] | None = None,
    caption: str = "Raw values in pale colours, and moving means.",
) -> str:
    """Plot the run's metrics into `curves.png` (see `plots.curves`); returns the Markdown that shows it.

    The text is empty if there is nothing to plot.
    """
    drawn = plots.curves(folder.file("metrics.jsonl"), folder.file("curves.png"), panels, xlabel, lines=lines)
    return image("curves.png", caption) if drawn else ""


def nonfinite_note(rows: Sequence[Mapping[str, float]]) -> str:
    """A sentence on the fraction of non-finite lifetimes, which are excluded; empty without any."""
    fractions = [row[NONFINITE] for row in rows if row.get(NONFINITE, math.nan) >= 0]
    if not any(fractions):
        return ""
    return (
        f"{100 * sum(fractions) / len(fractions):.2g} % of lifetimes were left out because they were not finite "
        f"(largest in one chunk {100 * max(fractions):.2g} %)."
    )


def verdict(name: str, other: str, difference: Interval, unit: str, lower_is_better: bool = False) -> str:
    """One sentence, in bold face, on how `name` compares with `other`: better or worse if the interval excludes zero.

    Args:
        name: what is compared, as the subject of the sentence.
        other: what it is compared with.
        difference: the measure of `name` minus that of `other`.
        unit: what the difference is in.
        lower_is_better: whether a negative difference is better.
    """
    above, below = ("worse than", "better than") if lower_is_better else ("better than", "worse than")
    words = above if difference.low > 0 else below if difference.high < 0 else "not distinguishable from"
    return f"**{name} is {words} {other}: difference {difference} ({unit}).**"


def write_report(folder: RunFolder, title: str, config: Any, sections: Mapping[str, str], lead: str = "") -> None:
    """Write `report.md`.

    Args:
        folder: of the run, whose command the report shows.
        title: of the report.
        config: the study's configuration, shown at the end.
        sections: Markdown by heading. One on excluded non-finite lifetimes is added if there were any.
        lead: Markdown that the report begins with: its conclusion in one sentence, and the main picture.
    """
    parts = [f"# {title}", *([lead] if lead else []), f"```\n{folder.command}\n```"]
    if nonfinite := nonfinite_note(read_metrics(folder.path / "metrics.jsonl")):
        sections = {**sections, "Lifetimes left out": nonfinite}
    parts += [f"## {heading}\n\n{body}" for heading, body in sections.items()]
    parts.append("## Configuration\n\n" + table(("option", "value"), _flat(identity(config))))
    write_text(folder.file("report.md"), "\n\n".join(parts) + "\n")


def write_results(folder: RunFolder, results: Mapping[str, Any]) -> None:
    """Write `results.json` from results converted by `json_data`."""
    write_json(folder.file("results.json"), json_data(results))


def json_data(value: Any) -> Any:
    """Results as JSON data: arrays as lists, intervals as `{"value", "low", "high"}`, non-finite numbers as strings."""
    if isinstance(value, Mapping):
        return {str(name): json_data(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_data(inner) for inner in value]
    if isinstance(value, Interval):
        return {"value": to_json(value.value), "low": to_json(value.low), "high": to_json(value.high)}
    return to_json(value.tolist() if type(value).__module__.split(".")[0] in ("numpy", "jaxlib") else value)


def join_notes(description: str, note: str | None) -> str:
    """The notes of a rule file: a description, and the step of the run if it was stopped."""
    return description if note is None else f"{description}; {note}"


def report_unfinished(
    config: Any, folder: RunFolder, outcome: Outcome, title: str, curves: str, has_rule: bool = False
) -> None:
    """Write `report.md` of a stopped run, and print the command that resumes it.

    Args:
        config: the study's configuration.
        folder: the run's folder.
        outcome: the end of the run.
        title: of the report of a finished run.
        curves: Markdown that shows the learning curves, empty without any.
        has_rule: whether the current rule was written.
    """
    note, line = outcome.note, resume_line(folder.command)
    text = f"**The run is not finished**: {note} ({outcome.reason}). To go on:\n\n```\n{line}\n```"
    if has_rule:
        text += "\n\nThe rule file holds the current rule."
    sections = {"Not finished": text}
    if curves:
        sections["Learning curves"] = curves
    write_report(folder, title, config, sections)
    print(f"{note} ({outcome.reason}); to go on:\n  {line}", flush=True)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    return f"{value:.3g}"


def _flat(data: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(data, dict) and data:
        return [row for name, value in data.items() for row in _flat(value, f"{path}.{name}" if path else name)]
    return [(f"`{path}`", str(data))]


@dataclass(frozen=True)
class FinishedRun:
    """A run with results.

    Attributes:
        folder: of the run.
        config: its configuration without the seed, as JSON data.
        command: that started it.
        results: the content of `results.json`.
    """

    folder: str
    config: dict[str, Any]
    command: str
    results: dict[str, Any]

    @property
    def seed(self) -> Any:
        """Its seed; None if its results hold none."""
        return self.results.get("seed")

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.jsonl`."""
        return read_metrics(Path(self.folder) / "metrics.jsonl")


def read_run(folder: str) -> FinishedRun:
    """Read a finished run.

    Raises:
        ValueError: a folder without one.
    """
    path = Path(folder)
    try:
        record = json.loads((path / "config.json").read_text(encoding="utf-8"))
        results = json.loads((path / "results.json").read_text(encoding="utf-8"))
        config, command = dict(record["config"]), str(record["command"])
        if not isinstance(results, dict):
            raise ValueError("results.json holds no JSON object")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no finished run ({error})") from error
    return FinishedRun(folder, {k: v for k, v in config.items() if k != "seed"}, command, results)


def check_same_configuration(runs: Sequence[FinishedRun]) -> None:
    """Check that runs differ in their seeds alone.

    Raises:
        ValueError: runs of different configurations (the differences are listed), or two of one seed.
    """
    seeds = set()
    for run in runs:
        if run.config != runs[0].config:
            lines = differences(runs[0].config, run.config, where=(f"in {runs[0].folder}", f"in {run.folder}"))
            raise ValueError(
                f"{runs[0].folder} and {run.folder} are runs of different configurations; they differ in\n  "
                + "\n  ".join(lines[:5] + (["..."] if len(lines) > 5 else []))
            )
        if run.seed in seeds:
            raise ValueError(f"{run.folder}: seed {run.seed} is given twice; give runs of different seeds")
        seeds.add(run.seed)


def write_summary(folder: Path, text: str, data: dict[str, Any]) -> None:
    """Write `summary.md` (under the folder's name as title) and `summary.json`; the folder is created."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "summary.md", f"# {folder.name}\n\n{text}")
    write_json(folder / "summary.json", data)
