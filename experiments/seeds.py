"""Means and intervals over meta-training seeds.

python -m experiments.seeds RUN RUN [RUN ...] [--against RUN ...] [--out FOLDER]
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.cli.command_line import report_errors
from lopt.evaluation import Interval, bootstrap, json_data, mean, paired_difference, table
from lopt.training import command_line, differences, write_json, write_text

USAGE = "python -m experiments.seeds RUN RUN [RUN ...] [--against RUN ...] [--out FOLDER]"
MEASURES = {
    "returns": "return",
    "a2c_normalised": "random = 0, A2C = 1",
    "held_out_loss": "held-out loss",
    "log10_ratio_to_adam": "log10 of the held-out loss relative to tuned Adam's",
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
    runs: dict[int, tuple[str, dict[str, dict[str, float]]]] = {}
    first: dict[str, Any] | None = None
    for folder in folders:
        config, command, results = _read(folder)
        values = {name: dict(numbers(results[name], name == "returns")) for name in MEASURES if name in results}
        values = {name: rows for name, rows in values.items() if rows}
        seed = results.get("seed")
        if not isinstance(seed, int) or not values:
            raise ValueError(
                f"{folder}: its results cannot be summarised over seeds (results.json holds {', '.join(results)}; "
                f"expected seed, and numbers or intervals in one of {', '.join(MEASURES)})"
            )
        if first is not None and config != first:
            lines = differences(first, config, where=(f"in {folders[0]}", f"in {folder}"))
            raise ValueError(
                f"{folders[0]} and {folder} are runs of different configurations; they differ in\n  "
                + "\n  ".join(lines[:5] + (["..."] if len(lines) > 5 else []))
            )
        if seed in runs:
            raise ValueError(f"{folder}: seed {seed} is given twice; give runs of different seeds")
        first = config
        runs[seed] = command, values
    seeds = sorted(runs)
    return Runs(first or {}, [runs[seed][0] for seed in seeds], _stacked([runs[seed][1] for seed in seeds]), seeds)


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


def _read(folder: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The configuration without the seed, the command and the results of a finished run."""
    try:
        record = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        config, command = dict(record["config"]), str(record["command"])
        if not isinstance(results, dict):
            raise ValueError("results.json holds no JSON object")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no finished run ({error})") from error
    return {name: value for name, value in config.items() if name != "seed"}, command, results


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
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "summary.md", f"# {folder.name}\n\n{text}")
        write_json(folder / "summary.json", data)


if __name__ == "__main__":
    report_errors(main)
