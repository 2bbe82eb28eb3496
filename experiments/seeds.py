"""Means and intervals over meta-training seeds.

python -m experiments.seeds RUN RUN [RUN ...] [--against RUN ...] [--out FOLDER]
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.cli.command_line import report_errors
from lopt.evaluation import (
    Interval,
    bootstrap,
    check_same_configuration,
    json_data,
    mean,
    paired_difference,
    read_run,
    table,
    write_summary,
)
from lopt.training import command_line

USAGE = "python -m experiments.seeds RUN RUN [RUN ...] [--against RUN ...] [--out FOLDER]"
MEASURES = {
    "returns": "return",
    "a2c_normalised": "random = 0, A2C = 1",
    "held_out_loss": "held-out loss",
    "log10_ratio_to_adam": "log10 of the held-out loss relative to tuned Adam's",
    "log10_ratio_to_best_baseline": "log10 of the held-out loss relative to that of the best tuned baseline",
    "log10_ratio_to_adamw": "log10 of the held-out loss relative to tuned AdamW's",
    "curves": "accuracy or loss in context",
    "excess_late": "excess over the exact reference at late positions",
    "held_out": "distance between rule and formula",
}
"""Entries of a `results.json` that can be summarised, and the quantity in them."""


@dataclass(frozen=True)
class SeedsConfig:
    """Summarises finished runs of one configuration over their seeds, with 95 % bootstrap intervals over seeds.

    Raises:
        ValueError: fewer than two runs.
    """

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Folders of finished runs of one configuration, one run per seed."""
    against: tuple[str, ...] = ()
    """Folders of finished runs of another configuration with the same seeds. Differences to them are paired by seed;
    by default there is no comparison."""
    out: str = ""
    """Folder for summary.md and summary.json; without it the summary is only printed."""

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise ValueError(f"give at least two run folders (got {len(self.runs)})\nusage: {USAGE}")


@dataclass(frozen=True)
class Runs:
    """Runs of one configuration that differ in their seed.

    Attributes:
        config: their configuration without the seed, as JSON data.
        commands: that started them, in the order of `seeds`.
        values: `[seeds]` by measure and row.
        seeds: ascending.
    """

    config: dict[str, Any]
    commands: list[str]
    values: dict[str, dict[str, np.ndarray]]
    seeds: list[int]


def load(folders: tuple[str, ...]) -> Runs:
    """Load the runs in these folders, ordered by seed.

    Raises:
        ValueError: a folder without a finished run, results that cannot be summarised, two runs of one seed, or runs
            of different configurations.
    """
    runs, values = [read_run(folder) for folder in folders], {}
    for run in runs:
        results, seed = run.results, run.seed
        found = {name: dict(numbers(results[name], name == "returns")) for name in MEASURES if name in results}
        found = {name: rows for name, rows in found.items() if rows}
        if not isinstance(seed, int) or not found:
            raise ValueError(
                f"{run.folder}: its results cannot be summarised over seeds (results.json holds {', '.join(results)}; "
                f"expected seed, and numbers or intervals in one of {', '.join(MEASURES)})"
            )
        values[seed] = found
    check_same_configuration(runs)
    runs.sort(key=lambda run: run.seed)
    seeds = [run.seed for run in runs]
    return Runs(runs[0].config, [run.command for run in runs], _stacked([values[seed] for seed in seeds]), seeds)


def numbers(results: Any, lists: bool, row: str = "") -> Iterator[tuple[str, float]]:
    """Iterate over `(row, value)` of every number in `results`.

    An interval gives its value, and with `lists` a list (one entry per agent seed) its mean. Other lists (curves) and
    strings are left out. `row` is the path of names so far.
    """
    if isinstance(results, dict) and set(results) == {"value", "low", "high"}:
        yield row, float(results["value"])
    elif isinstance(results, dict):
        for name, value in results.items():
            yield from numbers(value, lists, f"{row}, {name}" if row else name)
    elif isinstance(results, list) and results and lists:
        yield row, float(np.mean([float(value) for value in results]))
    elif isinstance(results, (int, float)) or results in ("nan", "inf", "-inf"):
        yield row, float(results)


def summary(config: SeedsConfig) -> tuple[str, dict[str, Any]]:
    """The summary as Markdown and as JSON data.

    Raises:
        ValueError: as in `load`, or runs in `against` that have other seeds.
    """
    runs = load(config.runs)
    against = load(config.against) if config.against else None
    if against is not None and against.seeds != runs.seeds:
        raise ValueError(f"--against: seeds must be the same (got {against.seeds}, expected {runs.seeds})")
    text = f"Seeds {', '.join(map(str, runs.seeds))}; 95 % bootstrap intervals over meta-training seeds.\n"
    data: dict[str, Any] = {"seeds": runs.seeds, "commands": runs.commands, "config": runs.config}
    for measure, values in runs.values.items():
        others = against.values.get(measure, {}) if against is not None else None
        text += f"\n{_table(MEASURES[measure], values, others)}\n"
        data[measure] = {row: {"mean": _mean(x), "per_seed": x} for row, x in values.items()}
        for row in values.keys() & (others or {}).keys():
            other = (others or {})[row]
            data[measure][row]["against"] = {"difference": _difference(values[row], other), "per_seed": other}
    commands = runs.commands
    if against is not None:
        text += "\nDifferences are paired by seed; the last commands are those of the other configuration.\n"
        data["against"] = {"commands": against.commands, "config": against.config}
        commands = commands + against.commands
    lines = "\n".join([*commands, command_line()])
    return f"{text}\n```\n{lines}\n```\n", json_data(data)


def _stacked(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, np.ndarray]]:
    """Values `[seeds]` by measure and row; NaN where a run lacks the row."""
    return {
        measure: {row: np.array([run.get(measure, {}).get(row, math.nan) for run in runs]) for row in rows}
        for measure, rows in runs[0].items()
    }


def _mean(values: np.ndarray) -> Interval | str:
    if not np.isfinite(values).all():
        return f"not finite for {int((~np.isfinite(values)).sum())} of {values.size} seeds"
    return bootstrap(values, mean)


def _difference(first: np.ndarray, second: np.ndarray) -> Interval | str:
    if not np.isfinite(first - second).all():
        return "not finite"
    return paired_difference(first, second, mean)


def _table(measure: str, values: dict[str, np.ndarray], others: dict[str, np.ndarray] | None) -> str:
    header = ["", measure, "per seed"] + ([] if others is None else ["the other configuration", "difference"])
    rows: list[list[Any]] = []
    for row, x in values.items():
        rows.append([row, _mean(x), " ".join(f"{value:.3g}" for value in x)])
        if others is not None:
            rows[-1] += [_mean(others[row]), _difference(x, others[row])] if row in others else ["-", "-"]
    return table(header, rows)


def main() -> None:
    """Print the summary, and write it if `out` is given."""
    config = tyro.cli(SeedsConfig, args=sys.argv[1:], prog="python -m experiments.seeds")
    text, data = summary(config)
    print(text)
    if config.out:
        write_summary(Path(config.out), text, data)


if __name__ == "__main__":
    report_errors(main)
