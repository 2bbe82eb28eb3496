"""Report of an evaluation: `results.json` with every score, a summary with intervals, and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.suites.candidates import Candidate
from experiments.suites.cells import Cells, rows_of
from experiments.suites.config import EvaluateConfig
from experiments.suites.suite import AXES, Suite
from lopt.evaluation import (
    Axis,
    bootstrap,
    image,
    iqm,
    mean,
    paired_difference,
    performance_profile,
    plots,
    table,
    write_report,
    write_results,
)
from lopt.training import RunFolder

ALL = "all tasks"
NUM_THRESHOLDS, PROFILE_RESAMPLES = 40, 200
PROFILES = (
    "Performance profiles: the fraction of runs (a seed on a level) whose normalised score is above each value, "
    "averaged over tasks, with 95 % intervals over runs. A curve above another one everywhere belongs to a better rule."
)
Normalised = dict[str, dict[str, np.ndarray]]


def title(config: EvaluateConfig) -> str:
    """Title of the report."""
    return f"Rules on the suite {config.suite}"


def normalise(suite: Suite, cells: Cells) -> Normalised:
    """Normalised scores `[seeds, levels]` by rule and by task."""
    scaled: Normalised = {rule: {} for rule in cells}
    for task in suite.tasks:
        required = {name: cells[name][task].scores for name in suite.required}
        for rule, by_task in cells.items():
            scaled[rule][task] = suite.normalised(by_task[task].scores, required)
    return scaled


def summarise(suite: Suite, cells: Cells, normalised: Normalised) -> list[dict[str, Any]]:
    """For each task, and for all of them, and each rule: estimates with 95 % intervals.

    "mean" of the scores (of a task); "normalised", the mean of normalised scores, and "iqm", their interquartile mean,
    by the stratified bootstrap (seeds and levels are drawn, tasks are kept); "minus_reference", the mean difference of
    normalised scores to the reference, paired by seed and level; "seconds" of wall time. A task without a scale has
    "mean" alone, and is left out of `ALL`.
    """
    reference = suite.required[-1]
    scaled = [task for task in suite.tasks if np.isfinite(normalised[reference][task]).all()]
    summary = []
    for task in suite.tasks:
        for rule, by_task in cells.items():
            cell = by_task[task]
            entry: dict[str, Any] = {"rule": rule, "task": task, "mean": bootstrap(cell.scores, mean, axes=AXES)}
            if task in scaled:
                entry |= _estimates(normalised, rule, reference, [task])
            summary.append(entry | {"seconds": cell.seconds, "tuned": cell.tuned, "reference": reference})
    if len(scaled) > 1:
        for rule, by_task in cells.items():
            entry = {"rule": rule, "task": ALL, **_estimates(normalised, rule, reference, scaled)}
            summary.append(entry | {"seconds": sum(by_task[t].seconds for t in scaled), "reference": reference})
    return summary


def _estimates(normalised: Normalised, rule: str, reference: str, tasks: Sequence[str]) -> dict[str, Any]:
    axes = (*AXES, Axis.FIXED)
    own, other = (np.stack([normalised[name][task] for task in tasks], -1) for name in (rule, reference))
    estimates = {"normalised": bootstrap(own, mean, axes=axes), "iqm": bootstrap(own, iqm, axes=axes)}
    if rule != reference:
        estimates["minus_reference"] = paired_difference(own, other, mean, axes=axes)
    return estimates


def write(config: EvaluateConfig, suite: Suite, rows: Mapping[str, Candidate], folder: RunFolder, cells: Cells) -> None:
    """Write `report.md`, `results.json` and `table.png`."""
    normalised = normalise(suite, cells)
    summary = summarise(suite, cells, normalised)
    scored = list(rows_of(cells, normalised))
    write_results(folder, {"seed": config.run.seed, "suite": config.suite, "rows": scored, "summary": summary})
    drawn = {
        task: {entry["rule"]: entry["normalised"] for entry in summary if entry["task"] == task}
        for task in dict.fromkeys(entry["task"] for entry in summary if "normalised" in entry)
    }
    reference = suite.required[-1]
    text = table(
        ("task", "rule", suite.measure, f"normalised: {suite.scale}", "IQM", f"minus {reference}", "tuned", "seconds"),
        [_cells(entry) for entry in summary],
    )
    sections = {"Results": text + "\n\n" + _protocol(config, suite, cells)}
    if unscaled := [task for task in suite.tasks if task not in drawn]:
        sections["Results"] += (
            f" No normalised scores on {', '.join(unscaled)}: {reference} is not above {suite.required[0]} by more "
            "than its interval; train for longer."
        )
    lead = ""
    if drawn:
        plots.intervals(drawn, folder.file("table.png"), suite.scale)
        caption = f"Normalised scores with 95 % intervals ({suite.scale})."
        lead = f"{conclusion(summary, reference, list(drawn))}\n\n{image('table.png', caption)}"
        draw_profiles(normalised, list(drawn), suite.scale, folder)
        sections["Performance profiles"] = image("profiles.png", PROFILES)
    sections |= {
        "Rules": _rules(rows),
        "results.json": (
            "`rows` has one entry for each learner: `rule`, `task`, `level` and `seed` (numbers from 0; equal numbers "
            "share levels and keys), `score` and `normalised`. `summary` has the table above, with intervals as "
            '`{"value", "low", "high"}`.'
        ),
    }
    write_report(folder, title(config), config, sections, lead)


def conclusion(summary: Sequence[Mapping[str, Any]], reference: str, tasks: Sequence[str]) -> str:
    """Which rules are better and which are worse than the reference, over all tasks or on the only one."""
    task = ALL if ALL in tasks else tasks[-1]
    gaps = {e["rule"]: e["minus_reference"] for e in summary if e["task"] == task and "minus_reference" in e}
    better = [rule for rule, gap in gaps.items() if gap.low > 0]
    worse = [rule for rule, gap in gaps.items() if gap.high < 0]
    same = [rule for rule in gaps if rule not in [*better, *worse]]
    parts = {"better than": better, "worse than": worse, "not distinguishable from": same}
    text = "; ".join(f"{words} {reference}: {', '.join(names) or 'none'}" for words, names in parts.items())
    return f"**On {task}, by 95 % intervals: {text}.**"


def draw_profiles(normalised: Normalised, tasks: Sequence[str], scale: str, folder: RunFolder) -> None:
    """Draw the performance profile of every rule as `profiles.png`: the fraction of runs above each score."""
    tasks = [task for task in tasks if task != ALL]
    runs = {rule: np.stack([by_task[task].ravel() for task in tasks], -1) for rule, by_task in normalised.items()}
    low, high = np.quantile(np.concatenate([x.ravel() for x in runs.values()]), [0.01, 0.99])
    thresholds = np.linspace(low, high, NUM_THRESHOLDS)
    with plots.figure(folder.file("profiles.png"), size=(6.4, 3.6)) as (_, axes):
        ax = axes[0, 0]
        for number, (rule, values) in enumerate(runs.items()):
            profile = performance_profile(values, thresholds, resamples=PROFILE_RESAMPLES)
            style = plots.line_style(number)
            ax.plot(thresholds, [x.value for x in profile], label=rule, **style)
            ax.fill_between(
                thresholds, [x.low for x in profile], [x.high for x in profile], color=style["color"], alpha=0.15, lw=0
            )
        ax.set(xlabel=f"score ({scale})", ylabel="fraction of runs above", ylim=(0, 1.02))
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _cells(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    tuned = entry.get("tuned", {})
    rate = f"{tuned['learning_rate']:.2g}{' (edge)' if tuned['at_edge'] else ''}" if tuned else ""
    return (
        entry["task"],
        entry["rule"],
        entry.get("mean", ""),
        entry.get("normalised", ""),
        entry.get("iqm", ""),
        entry.get("minus_reference", ""),
        rate,
        round(entry["seconds"], 1),
    )


def _protocol(config: EvaluateConfig, suite: Suite, cells: Cells) -> str:
    seeds, num_levels = next(iter(cells[suite.required[-1]].values())).scores.shape
    text = (
        f"{seeds} seeds x {num_levels} level{'s' * (num_levels > 1)} per rule and task; every learner is trained from "
        "scratch, equal seeds and levels share keys. Intervals are 95 % bootstrap intervals over seeds and levels with "
        "the scale held fixed; they are of agents under one rule, and none is over meta-training seeds. "
    )
    if any(cell.tuned for by_task in cells.values() for cell in by_task.values()):
        text += (
            f"A rule with a learning rate was tuned for each task over {config.rates} values by {config.tuning_seeds} "
            "other seeds; `edge` marks the ends of the grid, beyond which another might be better. A rule without a "
            "rate was not tuned. "
        )
    return text + "Seconds are wall time with compilation and tuning, not measured on a quiet machine."


def _rules(rows: Mapping[str, Candidate]) -> str:
    """What the cards say about the rules: file, checksum and first limit."""
    known = [
        (name, row.kind, row.path.rpartition("/")[2], row.card.checksum[:12], row.card.limits[0])
        if row.card is not None and row.card.limits
        else (name, row.kind, row.path, row.card.checksum[:12] if row.card else "", "")
        for name, row in rows.items()
    ]
    return table(("rule", "kind", "file", "SHA-256", "limit on its card"), known)
