"""python -m experiments.lion_search.repeats RUN [RUN ...] [--out FOLDER]: searches that differ in their seed alone."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.common import plots
from experiments.common.cli import command_line, report_errors
from experiments.common.config import write_json, write_text
from experiments.common.logging import read_metrics
from experiments.common.report import table
from experiments.lion_search.build import CONSTANTS, EVOLUTION, RANDOM
from experiments.lion_search.measure import AS_FOUND, BEST, CHOSEN, DRAWN

SEARCHES = (EVOLUTION, CONSTANTS, RANDOM)
STATISTICS = {
    "redundant": "statements without effect",
    "known_now": "proposals known",
    "structure_hits": "known by structure, so far",
    "behaviour_hits": "known by behaviour, so far",
}
FOUND = (CHOSEN, AS_FOUND, BEST, DRAWN)
"""What the searches found, as the rows of their tables."""


@dataclass(frozen=True)
class Run:
    """A finished search: its configuration without the seed, its command, its metrics and its results."""

    config: dict[str, Any]
    command: str
    rows: list[dict[str, float]]
    results: dict[str, Any]


@dataclass(frozen=True)
class RepeatsConfig:
    """Compares evolution with its baselines over several finished runs, with standard errors over the runs."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders."""
    out: str = ""
    """Folder for summary.md, summary.json and repeats.png."""


def load(folders: Sequence[str]) -> list[Run]:
    """The runs.

    Raises:
        ValueError: fewer than two, a folder without a finished run, one seed twice, or configurations that differ.
    """
    if len(folders) < 2:
        raise ValueError(f"give at least two runs (got {len(folders)})")
    runs: list[Run] = []
    seeds: set[int] = set()
    for folder in folders:
        path = Path(folder)
        try:
            saved = json.loads((path / "config.json").read_text())
            results = json.loads((path / "results.json").read_text())
            seed, rows = results["seed"], read_metrics(path / "metrics.jsonl")
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{folder} holds no finished search ({error})") from error
        if seed in seeds:
            raise ValueError(f"{folder}: seed {seed} is there twice; give runs of different seeds")
        seeds.add(seed)
        runs.append(Run({k: v for k, v in saved["config"].items() if k != "seed"}, saved["command"], rows, results))
    if any(run.config != runs[0].config for run in runs):
        raise ValueError(f"{', '.join(folders)}: these are runs of different configurations")
    return runs


def over_programs(runs: Sequence[Run], name: str, what: str, tried: np.ndarray) -> np.ndarray:
    """A metric of one search `[runs, len(tried)]`: its last value by then, or its first where there is none."""
    found = []
    for run in runs:
        points = [(row[f"{name}/tried"], row[f"{name}/{what}"]) for row in run.rows if f"{name}/{what}" in row]
        x, y = np.array(points, float).T
        found.append(y[np.maximum(np.searchsorted(x, tried, "right") - 1, 0)])
    return np.array(found)


def last_tried(runs: Sequence[Run], name: str) -> float:
    """Programs that a search had tried at its end: the fewest over the runs."""
    return min(run.rows[-1][f"{name}/tried"] for run in runs)


def estimate(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error over the first axis."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def told(values: np.ndarray, digits: int = 3) -> str:
    """Mean and standard error as text."""
    middle, error = estimate(values)
    return f"{middle:.{digits}f} ± {error:.{digits}f}"


def summary(runs: Sequence[Run]) -> tuple[str, dict[str, Any]]:
    """The summary as Markdown and as data."""
    end = last_tried(runs, EVOLUTION)
    ours = over_programs(runs, EVOLUTION, "best", np.array([end]))[:, 0]
    rows, data = [], {}
    for name in SEARCHES:
        for budget in dict.fromkeys((end, last_tried(runs, name))):
            best, larger = (over_programs(runs, name, w, np.array([budget]))[:, 0] for w in ("best", "validation"))
            behind = "-" if name == EVOLUTION else told(ours - best)
            each = " ".join(f"{x:.3f}" for x in best)
            lost = np.isinf(larger)
            usable = f"{lost.sum()} lost, else {told(larger[~lost])}" if lost.any() else told(larger)
            rows.append((name, f"{budget:,.0f}", told(best), behind, each, usable))
            larger = [float(x) if np.isfinite(x) else None for x in larger]  # minus infinity for what was lost
            data[f"{name}, {budget:.0f} programs"] = {"fitness": best.tolist(), "larger_task": larger}
    header = ("search", "programs tried", "best fitness", "evolution's minus this", "per seed", "on the larger task")
    part = np.linspace(0, end, 6)[1:]
    shares = [
        (label, *(told(x, 2) for x in over_programs(runs, EVOLUTION, what, part).T))
        for what, label in STATISTICS.items()
    ]
    text = (
        f"{len(runs)} runs; means and standard errors over them. Fitness is minus the held-out loss on the proxy, with "
        f"the newborns of the search; the larger task is of its validation.\n\n{table(header, rows)}\n\n"
        "What evolution proposes, after so many tried programs:\n\n"
        + table(("share of", *(f"{x:,.0f}" for x in part)), shares)
    )
    advantage = over_adamw(runs)
    if advantage:
        text += (
            "\n\nFitness on the proxy minus that of AdamW with searched constants, by newborns that nothing was chosen "
            "by:\n\n"
            + table(
                ("what was found", "mean", "per seed"),
                [(who, told(np.array(x)), " ".join(f"{one:.3f}" for one in x)) for who, x in advantage.items()],
            )
        )
    ratios = against_adamw(runs)
    text += "\n\nlog10 of what was found's held-out loss relative to tuned AdamW's, with other newborns:\n\n" + table(
        ("task", "what was found", "mean", "per seed"),
        [
            (task, who, told(np.array(values)), " ".join(f"{x:.2f}" for x in values))
            for task, row in ratios.items()
            for who, values in row.items()
        ],
    )
    return text, data | {"fitness_minus_adamw": advantage, "log10_ratio_to_adamw": ratios}


def over_adamw(runs: Sequence[Run]) -> dict[str, list[float]]:
    """By what was found: the runs' advantages on the proxy, where all runs have one."""
    tables = [run.results["fitness_minus_adamw"] for run in runs]
    return {who: [t[who]["value"] for t in tables] for who in FOUND if all(who in t for t in tables)}


def against_adamw(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """By task and by what was found: the runs' ratios, where all runs have one."""
    tables = [run.results["log10_ratio_to_adamw"] for run in runs]
    return {
        task: {
            who: [t[task][who]["value"] for t in tables] for who in FOUND if all(who in t.get(task, ()) for t in tables)
        }
        for task in tables[0]
    }


def draw(runs: Sequence[Run], path: Path) -> None:
    """Best fitness over programs, and the statistics of evolution's proposals; bands are standard errors."""
    with plots.figure(path, 1, 2, size=(4.2, 3.0)) as (_, axes):
        for name, color in zip(SEARCHES, plots.COLORS, strict=False):
            x = np.geomspace(128, max(last_tried(runs, name), 129), 200)
            _band(axes[0, 0], x, over_programs(runs, name, "best", x), color, name)
        axes[0, 0].set(title="best fitness", xlabel="programs tried", xscale="log")
        axes[0, 0].legend(loc="lower right")
        x = np.linspace(128, last_tried(runs, EVOLUTION), 200)
        for (what, label), color in zip(STATISTICS.items(), plots.COLORS[2:], strict=False):
            _band(axes[0, 1], x, over_programs(runs, EVOLUTION, what, x), color, label)
        axes[0, 1].set(
            title="evolution: share of", xlabel="programs tried", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6)
        )
        axes[0, 1].legend(loc="upper center", ncols=2)


def _band(axis: Any, x: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    middle, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))
    axis.fill_between(x, middle - error, middle + error, color=color, alpha=0.25, linewidth=0)
    axis.plot(x, middle, color=color, label=label)


def main() -> None:
    """Print the summary, and perhaps write it with its picture."""
    config = tyro.cli(RepeatsConfig, args=sys.argv[1:], prog="python -m experiments.lion_search.repeats")
    runs = load(config.runs)
    text, data = summary(runs)
    print(text)
    if config.out:
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        commands = "\n".join([*(run.command for run in runs), command_line()])
        draw(runs, folder / "repeats.png")
        picture = "![Best fitness over programs tried, and evolution's statistics](repeats.png)"
        write_text(folder / "summary.md", f"# {folder.name}\n\n{text}\n\n```\n{commands}\n```\n\n{picture}\n")
        write_json(folder / "summary.json", {"commands": commands.split("\n"), "config": runs[0].config, **data})


if __name__ == "__main__":
    report_errors(main)
