"""python -m experiments.seeds RUN RUN [RUN ...] [--against RUN ...] [--out FOLDER]

Several seeds of a study as one result.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.cli.command_line import report_errors
from lopt.evaluation import (
    Axis,
    Interval,
    Sample,
    bootstrap,
    bootstrap_samples,
    check_same_configuration,
    json_data,
    mean,
    normalised,
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
PER_LEVEL, RANDOM, A2C = "per_level", "random", "A2C"
"""The entry with mean returns by method and level, and the methods that define its scale."""
SEEDS_AND_LEVELS = (Axis.CROSSED, Axis.CROSSED)
"""Axes of returns `[seeds, levels]`: the rules of all seeds are tested on the same levels."""


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
        per_level: mean returns `[seeds, levels]` by method; empty where the results have none.
        seeds: ascending.
    """

    config: dict[str, Any]
    commands: list[str]
    values: dict[str, dict[str, np.ndarray]]
    per_level: dict[str, np.ndarray]
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
    commands, stacked = [run.command for run in runs], _stacked([values[seed] for seed in seeds])
    return Runs(runs[0].config, commands, stacked, _per_level([run.results for run in runs]), seeds)


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
    if scores := over_levels(runs.per_level, {} if against is None else against.per_level):
        text += f"\n{_levels_table(scores, len(runs.seeds), against is not None)}\n"
        data["a2c_normalised_over_seeds_and_levels"] = scores
    commands = runs.commands
    if against is not None:
        text += "\nDifferences are paired by seed; the last commands are those of the other configuration.\n"
        data["against"] = {"commands": against.commands, "config": against.config}
        commands = commands + against.commands
    lines = "\n".join([*commands, command_line()])
    return f"{text}\n```\n{lines}\n```\n", json_data(data)


def over_levels(returns: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> dict[str, dict[str, Interval]]:
    """Scores with random = 0 and A2C = 1, with intervals over meta-training seeds and levels together, by method.

    The first method is the one that is compared: "minus this" is its score minus that of each other method, and
    "minus the other configuration" is a method's score minus its score in `others`, paired by seed and level. Agent
    seeds are averaged on every level, so that their variance is part of that between levels.

    Args:
        returns: mean returns `[seeds, levels]` by method; without the random policy and A2C there are no scores.
        others: the same of another configuration, or empty.
    """
    if not {RANDOM, A2C} <= returns.keys():
        return {}
    first = next(iter(returns))
    scores: dict[str, dict[str, Interval]] = {}
    for name, values in returns.items():
        scores[name] = {"score": _over_levels(normalised, values, returns[RANDOM], returns[A2C])}
        if name != first:
            scores[name]["minus this"] = _over_levels(_gap, returns[first], values, returns[RANDOM], returns[A2C])
        other = others.get(name)
        if other is not None and other.shape == values.shape:
            scales = returns[RANDOM], returns[A2C], others[RANDOM], others[A2C]
            scores[name]["minus the other configuration"] = _over_levels(_gap_between, values, other, *scales)
    return scores


def _over_levels(statistic: Callable[..., float], *returns: np.ndarray) -> Interval:
    return bootstrap_samples(statistic, *(Sample(x, SEEDS_AND_LEVELS) for x in returns))


def _gap(first: np.ndarray, second: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    return normalised(first, low, high) - normalised(second, low, high)


def _gap_between(
    first: np.ndarray, second: np.ndarray, low: np.ndarray, high: np.ndarray, low2: np.ndarray, high2: np.ndarray
) -> float:
    return normalised(first, low, high) - normalised(second, low2, high2)


def _levels_table(scores: dict[str, dict[str, Interval]], num_seeds: int, against: bool) -> str:
    first = next(iter(scores))
    columns = ["score", "minus this"] + (["minus the other configuration"] if against else [])
    rows = [[name, *(str(row.get(column, "")) for column in columns)] for name, row in scores.items()]
    header = ["", "random = 0, A2C = 1", f"{first} minus this", *columns[2:]]
    return (
        "Intervals over meta-training seeds and held-out levels together (both drawn with replacement; agent seeds are "
        f"averaged on every level). With {num_seeds} seeds the part of the seeds is drawn with "
        f"{(num_seeds - 1) / num_seeds:.0%} of its variance.\n\n" + table(header, rows)
    )


def _per_level(results: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Mean returns `[seeds, levels]` by method; empty unless all results have the same methods and levels."""
    found = [result.get(PER_LEVEL) for result in results]
    by_run = [{name: np.asarray(x, float) for name, x in one.items()} for one in found if isinstance(one, dict)]
    if len(by_run) < len(results):
        return {}
    shapes = [{name: x.shape for name, x in one.items()} for one in by_run]
    if any(shape != shapes[0] for shape in shapes):
        return {}
    return {name: np.stack([one[name] for one in by_run]) for name in by_run[0]}


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
