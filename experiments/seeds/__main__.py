"""python -m experiments.seeds RUN RUN [RUN ...] [--against RUN ...] [--out FOLDER]: means over meta-training seeds."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.common.cli import command_line, report_errors
from experiments.common.config import differences, write_json, write_text
from experiments.common.report import json_data, table
from experiments.common.stats import Interval, bootstrap, mean, paired_difference

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
"""Parts of a `results.json` that can be summarised, and what they measure."""


@dataclass(frozen=True)
class SeedsConfig:
    """Summarises finished runs of one configuration over their seeds, with 95 % bootstrap intervals over seeds.

    Raises:
        ValueError: fewer than two runs.
    """

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders."""
    against: tuple[str, ...] = ()
    """Run folders of another configuration with the same seeds, to compare with seed by seed."""
    out: str = ""
    """Folder for summary.md and summary.json."""

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise ValueError(f"give at least two run folders (got {len(self.runs)})\nusage: {USAGE}")


@dataclass(frozen=True)
class Runs:
    """Runs of one configuration that differ in their seed.

    Attributes:
        config: what they have in common.
        commands: what started them.
        values: by measure and row, one value per seed.
        seeds: in the order of the values.
    """

    config: dict[str, Any]
    commands: list[str]
    values: dict[str, dict[str, np.ndarray]]
    seeds: list[int]


def load(folders: tuple[str, ...]) -> Runs:
    """The runs in these folders, in the order of their seeds.

    Raises:
        ValueError: a folder without a finished run, results that cannot be summarised, two runs of one seed, or runs
            of different configurations.
    """
    found: dict[int, tuple[str, dict[str, dict[str, float]]]] = {}
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
        if seed in found:
            raise ValueError(f"{folder}: seed {seed} is there twice; give runs of different seeds")
        first = config
        found[seed] = command, values
    seeds = sorted(found)
    return Runs(first or {}, [found[seed][0] for seed in seeds], _stacked([found[seed][1] for seed in seeds]), seeds)


def numbers(results: Any, lists: bool, row: str = "") -> Iterator[tuple[str, float]]:
    """`(row, value)` of every number; an interval counts by its value, and with `lists` a list (of agent seeds) by its
    mean. Other lists (curves) and texts are left out."""
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
    """The summary as Markdown and as data.

    Raises:
        ValueError: what `load` raises, and other seeds in `against`.
    """
    ours = load(config.runs)
    theirs = load(config.against) if config.against else None
    if theirs is not None and theirs.seeds != ours.seeds:
        raise ValueError(f"--against: seeds must be the same (got {theirs.seeds}, expected {ours.seeds})")
    text = f"Seeds {', '.join(map(str, ours.seeds))}; 95 % bootstrap intervals over meta-training seeds.\n"
    data: dict[str, Any] = {"seeds": ours.seeds, "commands": ours.commands, "config": ours.config}
    for measure, values in ours.values.items():
        others = theirs.values.get(measure, {}) if theirs is not None else None
        text += f"\n{_table(MEASURES[measure], values, others)}\n"
        data[measure] = {row: {"mean": _mean(x), "per_seed": x} for row, x in values.items()}
        for row in values.keys() & (others or {}).keys():
            other = (others or {})[row]
            data[measure][row]["against"] = {"difference": _gap(values[row], other), "per_seed": other}
    commands = ours.commands
    if theirs is not None:
        text += "\nDifferences are paired by seed; the other configuration's runs are the last of the commands.\n"
        data["against"] = {"commands": theirs.commands, "config": theirs.config}
        commands = commands + theirs.commands
    lines = "\n".join([*commands, command_line()])
    return f"{text}\n```\n{lines}\n```\n", json_data(data)


def _read(folder: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Configuration without the seed, command and results of a finished run."""
    try:
        record = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        config, command = dict(record["config"]), str(record["command"])
        if not isinstance(results, dict):
            raise ValueError("results.json is no object")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no finished run ({error})") from error
    return {name: value for name, value in config.items() if name != "seed"}, command, results


def _stacked(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, np.ndarray]]:
    """By measure and row `[seeds]`; NaN where a run lacks the row."""
    return {
        measure: {row: np.array([run.get(measure, {}).get(row, math.nan) for run in found]) for row in rows}
        for measure, rows in found[0].items()
    }


def _mean(values: np.ndarray) -> Interval | str:
    if not np.isfinite(values).all():
        return f"not finite for {int((~np.isfinite(values)).sum())} of {values.size} seeds"
    return bootstrap(values, mean)


def _gap(ours: np.ndarray, theirs: np.ndarray) -> Interval | str:
    if not np.isfinite(ours - theirs).all():
        return "not finite"
    return paired_difference(ours, theirs, mean)


def _table(measure: str, values: dict[str, np.ndarray], others: dict[str, np.ndarray] | None) -> str:
    header = ["", measure, "per seed"] + ([] if others is None else ["the other configuration's", "minus the other's"])
    rows: list[list[Any]] = []
    for row, x in values.items():
        rows.append([row, _mean(x), " ".join(f"{value:.3g}" for value in x)])
        if others is not None:
            rows[-1] += [_mean(others[row]), _gap(x, others[row])] if row in others else ["-", "-"]
    return table(header, rows)


def main() -> None:
    """Print the summary, and perhaps write it."""
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
