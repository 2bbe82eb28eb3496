"""Statistics over searches of several seeds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.search.build import CONSTANTS, EVOLUTION, RANDOM
from experiments.search.measure import BEST, BEST_RANDOM, CHOSEN, UNTUNED
from experiments.search.report import STATISTICS
from lopt.evaluation import (
    FinishedRun,
    check_same_configuration,
    plots,
    read_run,
    t_interval,
    table,
    write_summary,
)
from lopt.training import command_line

SEARCHES = (EVOLUTION, CONSTANTS, RANDOM)
PROGRAMS = (CHOSEN, UNTUNED, BEST, BEST_RANDOM)
"""Programs of the runs' tables that are compared."""


@dataclass(frozen=True)
class RepeatsConfig:
    """Compares evolution with its baselines over several finished runs, with standard errors over the runs."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Folders of finished runs that differ in their seeds only; at least two."""
    out: str = ""
    """Folder for summary.md, summary.json and repeats.png. By default nothing is written."""


def load(folders: Sequence[str]) -> list[FinishedRun]:
    """Read the runs in these folders.

    Raises:
        ValueError: fewer than two folders, a folder without a finished search, two runs of one seed, or different
            configurations.
    """
    if len(folders) < 2:
        raise ValueError(f"give at least two runs (got {len(folders)})")
    runs = [read_run(folder) for folder in folders]
    for run in runs:
        if "fitness_minus_adamw" not in run.results:
            raise ValueError(f"{run.folder} holds a run of another study (expected one of lion_search)")
    check_same_configuration(runs)
    return runs


def metric_at(runs: Sequence[FinishedRun], name: str, metric: str, evaluated: np.ndarray) -> np.ndarray:
    """A metric of the search `name` at numbers of evaluated programs `[n]`, as `[runs, n]`.

    It is the last logged value up to this number, or the first logged value if there is none.
    """
    values = []
    for run in runs:
        points = [
            (row[f"{name}/evaluated"], row[f"{name}/{metric}"]) for row in run.metrics if f"{name}/{metric}" in row
        ]
        x, y = np.array(points, float).T
        values.append(y[np.maximum(np.searchsorted(x, evaluated, "right") - 1, 0)])
    return np.array(values)


def final_budget(runs: Sequence[FinishedRun], name: str) -> float:
    """Number of programs that the search `name` evaluated in all, the minimum over the runs."""
    return min(run.metrics[-1][f"{name}/evaluated"] for run in runs)


def with_interval(values: np.ndarray, digits: int = 3) -> str:
    """Mean over the runs with Student's 95 % interval, as text."""
    if len(values) < 2:
        return " ".join(f"{value:.{digits}f}" for value in values)
    interval = t_interval(values)
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def summary(runs: Sequence[FinishedRun]) -> tuple[str, dict[str, Any]]:
    """The summary as Markdown and as JSON data."""
    text, data = searches_summary(runs)
    differences = fitness_minus_adamw(runs)
    if differences:
        text += (
            "\n\nFitness on the proxy minus that of AdamW with searched constants, on seeds that were used for no "
            "choice:\n\n"
            + table(
                ("program", "mean", "per seed"),
                [
                    (name, with_interval(np.array(x)), " ".join(f"{one:.3f}" for one in x))
                    for name, x in differences.items()
                ],
            )
        )
    ratios = ratio_to_adamw(runs)
    text += "\n\nMeta-test: log10 of the held-out loss relative to that of tuned AdamW, on other seeds:\n\n" + table(
        ("task", "program", "mean", "per seed"),
        [
            (task, name, with_interval(np.array(values)), " ".join(f"{x:.2f}" for x in values))
            for task, row in ratios.items()
            for name, values in row.items()
        ],
    )
    return text, data | {"fitness_minus_adamw": differences, "log10_ratio_to_adamw": ratios}


def searches_summary(runs: Sequence[FinishedRun]) -> tuple[str, dict[str, Any]]:
    """Fitness of the searches at equal and at final budgets, and evolution's statistics over its run."""
    end = final_budget(runs, EVOLUTION)
    evolution = metric_at(runs, EVOLUTION, "best", np.array([end]))[:, 0]
    rows, data = [], {}
    for name in SEARCHES:
        for budget in dict.fromkeys((end, final_budget(runs, name))):
            best, validation = (metric_at(runs, name, w, np.array([budget]))[:, 0] for w in ("best", "validation"))
            difference = "-" if name == EVOLUTION else with_interval(evolution - best)
            per_seed = " ".join(f"{x:.3f}" for x in best)
            diverged = np.isinf(validation)
            described = (
                f"{diverged.sum()} diverged, else {with_interval(validation[~diverged])}"
                if diverged.any()
                else with_interval(validation)
            )
            rows.append((name, f"{budget:,.0f}", with_interval(best), difference, per_seed, described))
            finite = [float(x) if np.isfinite(x) else None for x in validation]  # minus infinity: diverged
            data[f"{name}, {budget:.0f} programs"] = {"fitness": best.tolist(), "validation": finite}
    header = ("search", "evaluated", "best fitness", "evolution minus this", "per seed", "meta-validation")
    points = np.linspace(0, end, 6)[1:]
    fractions = [
        (label, *(with_interval(x, 2) for x in metric_at(runs, EVOLUTION, metric, points).T))
        for metric, label in STATISTICS.items()
    ]
    text = (
        f"{len(runs)} runs; means and standard errors over the runs. Fitness is minus the held-out loss on the proxy, "
        f"on the seeds of the search; meta-validation is the same on a larger task.\n\n{table(header, rows)}\n\n"
        "Statistics of the programs that evolution proposes, by number of evaluated programs:\n\n"
        + table(("fraction of", *(f"{x:,.0f}" for x in points)), fractions)
    )
    return text, data


def fitness_minus_adamw(runs: Sequence[FinishedRun]) -> dict[str, list[float]]:
    """For each program that all runs have: its fitness on the proxy minus AdamW's, per run."""
    tables = [run.results["fitness_minus_adamw"] for run in runs]
    return {name: [t[name]["value"] for t in tables] for name in PROGRAMS if all(name in t for t in tables)}


def ratio_to_adamw(runs: Sequence[FinishedRun]) -> dict[str, dict[str, list[float]]]:
    """For each task and each program that all runs have: its log10 ratio of losses to AdamW, per run."""
    tables = [run.results["log10_ratio_to_adamw"] for run in runs]
    return {
        task: {
            name: [t[task][name]["value"] for t in tables]
            for name in PROGRAMS
            if all(name in t.get(task, ()) for t in tables)
        }
        for task in tables[0]
    }


def draw(runs: Sequence[FinishedRun], path: Path) -> None:
    """Plot the best fitness of each search and the statistics of evolution's proposals, with standard errors."""
    with plots.figure(path, 1, 2, size=(4.2, 3.0)) as (_, axes):
        for name, color in zip(SEARCHES, plots.COLORS, strict=False):
            x = np.geomspace(128, max(final_budget(runs, name), 129), 200)
            _band(axes[0, 0], x, metric_at(runs, name, "best", x), color, name)
        axes[0, 0].set(title="best fitness", xlabel="evaluated programs", xscale="log")
        axes[0, 0].legend(loc="lower right")
        x = np.linspace(128, final_budget(runs, EVOLUTION), 200)
        for (metric, label), color in zip(STATISTICS.items(), plots.COLORS[2:], strict=False):
            _band(axes[0, 1], x, metric_at(runs, EVOLUTION, metric, x), color, label)
        axes[0, 1].set(
            title="evolution: fraction of", xlabel="evaluated programs", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6)
        )
        axes[0, 1].legend(loc="upper center", ncols=2)


def _band(axis: Any, x: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    finite = np.where(np.isfinite(values), values, np.nan)
    if len(values) > 1:
        ends = [t_interval(column) for column in finite.T if np.isfinite(column).all()]
        inside = np.isfinite(finite).all(0)
        axis.fill_between(
            x[inside], [i.low for i in ends], [i.high for i in ends], color=color, alpha=0.25, linewidth=0
        )
    axis.plot(x, values.mean(0), color=color, label=label)


def main() -> None:
    """Print the summary, and write it with its figure if `--out` is given."""
    config = tyro.cli(RepeatsConfig, args=sys.argv[1:], prog="python -m experiments.lion_search_repeats")
    runs = load(config.runs)
    text, data = summary(runs)
    print(text)
    if config.out:
        folder, commands = Path(config.out), [*(run.command for run in runs), command_line()]
        figure = "![Best fitness against evaluated programs, and evolution's statistics](repeats.png)"
        text += "\n\n```\n" + "\n".join(commands) + f"\n```\n\n{figure}\n"
        write_summary(folder, text, {"commands": commands, "config": runs[0].config, **data})
        draw(runs, folder / "repeats.png")
