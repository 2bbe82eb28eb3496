"""`report.md`, which a person reads, and `results.json`, which a program reads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.common import plots
from experiments.common.config import identity, plain, write_json, write_text
from experiments.common.folder import RunFolder
from experiments.common.logging import NONFINITE, read_metrics
from experiments.common.stats import Interval


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers are aligned right and get three significant digits.

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
    """A picture of the run folder, by its name there."""
    return f"![{caption}]({name.replace(' ', '%20')})\n\n*{caption}*"


def curves(
    folder: RunFolder,
    panels: plots.Panels,
    xlabel: str,
    lines: Mapping[str, Mapping[str, float]] | None = None,
    caption: str = "Raw values pale, moving means on top.",
) -> str:
    """Draw the run's metrics as `curves.png`, as `plots.curves` does, and give the Markdown that shows it.

    Empty where there is nothing to draw.
    """
    drawn = plots.curves(folder.file("metrics.jsonl"), folder.file("curves.png"), panels, xlabel, lines=lines)
    return image("curves.png", caption) if drawn else ""


def left_out(rows: Sequence[Mapping[str, float]]) -> str:
    """What the metrics say of lifetimes that were left out as not finite; empty where none was."""
    fractions = [row[NONFINITE] for row in rows if row.get(NONFINITE, math.nan) >= 0]
    if not any(fractions):
        return ""
    return (
        f"{100 * sum(fractions) / len(fractions):.2g} % of lifetimes were left out because they were not finite "
        f"(largest in one chunk {100 * max(fractions):.2g} %)."
    )


def write_report(folder: RunFolder, title: str, config: Any, sections: Mapping[str, str]) -> None:
    """Write `report.md`: the command that made it, `sections` (heading to Markdown), lifetimes that were left out as
    not finite, and the configuration."""
    parts = [f"# {title}", f"```\n{folder.command}\n```"]
    if missing := left_out(read_metrics(folder.path / "metrics.jsonl")):
        sections = {**sections, "Lifetimes left out": missing}
    parts += [f"## {heading}\n\n{body}" for heading, body in sections.items()]
    parts.append("## Configuration\n\n" + table(("option", "value"), _flat(identity(config))))
    write_text(folder.file("report.md"), "\n\n".join(parts) + "\n")


def write_results(folder: RunFolder, results: Mapping[str, Any]) -> None:
    """Write `results.json`, by `json_data`."""
    write_json(folder.file("results.json"), json_data(results))


def json_data(value: Any) -> Any:
    """Results as JSON data; intervals become `{"value", "low", "high"}`, what is not finite becomes a string."""
    if isinstance(value, Mapping):
        return {str(name): json_data(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_data(inner) for inner in value]
    if isinstance(value, Interval):
        return {"value": plain(value.value), "low": plain(value.low), "high": plain(value.high)}
    return plain(value.tolist() if type(value).__module__.split(".")[0] in ("numpy", "jaxlib") else value)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    return f"{value:.3g}"


def _flat(data: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(data, dict) and data:
        return [row for name, value in data.items() for row in _flat(value, f"{path}.{name}" if path else name)]
    return [(f"`{path}`", str(data))]
