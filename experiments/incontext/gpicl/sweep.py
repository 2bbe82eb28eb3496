"""Sweeps: runs that differ in one option and in their seed, such as the transition over the number of tasks."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from envs.names import unknown_name
from experiments.incontext.gpicl.config import StudyConfig, SweepConfig
from experiments.incontext.gpicl.report import SEEN, UNSEEN
from lopt.evaluation import image, last_quarter, plots, table, write_report, write_results
from lopt.training import Outcome, RunFolder, command_line, open_folder, resume_command

CURVES = {"seen tasks": SEEN, "unseen tasks": UNSEEN}
"""Measurements in the table, by their short names."""
ACCURACIES = ("first", "last_quarter", "gain")
"""Entries of `SequenceResult.summary` in the table."""


def main(config: StudyConfig, single_run: Callable[[StudyConfig], Outcome]) -> Outcome:
    """Run every point of the sweep that has no results yet, each in its own folder, and write the joint report.

    Args:
        config: configuration with a `sweep.option`.
        single_run: makes the run of one point.

    Raises:
        ValueError: the option does not exist, or a value has the wrong type.
    """
    configs = points(config)
    folder = open_folder(config, command_line())
    try:
        done = _run(config, folder, configs, single_run)
        if done == len(configs):
            results = [json.loads((folder.path / "points" / name / "results.json").read_text()) for name in configs]
            write(config, folder, results)
            print(f"report: {folder.path / 'report.md'}")
        return Outcome(None, done, done < len(configs), None, len(configs), "run")
    finally:
        folder.close()


def _run(
    config: StudyConfig,
    folder: RunFolder,
    configs: dict[str, StudyConfig],
    single_run: Callable[[StudyConfig], Outcome],
) -> int:
    """Run the points that have no results yet; returns the number of finished ones, all unless it was stopped."""
    done, start_time = 0, time.monotonic()
    folder.checkpoints.save(done, {"done": jnp.int32(done)})
    for name, point in configs.items():
        path = folder.path / "points" / name
        if not (path / "results.json").exists():
            minutes_left = None
            if config.run.max_minutes is not None:
                minutes_left = config.run.max_minutes - (time.monotonic() - start_time) / 60
            if minutes_left is not None and minutes_left <= 0:
                print(f"stopped before {name} (the time limit was reached); to continue:\n  {resume_command()}")
                return done
            resume = any((path / "checkpoints").glob("*"))
            run = dataclasses.replace(
                config.run, out=str(path), seed=point.run.seed, resume=resume, overwrite=False, max_minutes=minutes_left
            )
            print(f"{name} ({done + 1} of {len(configs)})", flush=True)
            if single_run(dataclasses.replace(point, run=run)).stopped:
                return done
        done += 1
        folder.checkpoints.save(done, {"done": jnp.int32(done)})
    return done


def points(config: StudyConfig) -> dict[str, StudyConfig]:
    """The configurations of all runs of a sweep, by the names of their folders.

    Raises:
        ValueError: the option does not exist, or a value has the wrong type.
    """
    section, _, name = config.sweep.option.partition(".")
    name = name.replace("-", "_")
    sections = ("tasks", "model", "meta")
    fields = [f"{s}.{f.name}" for s in sections for f in dataclasses.fields(getattr(config, s))]
    if f"{section}.{name}" not in fields:
        raise unknown_name("option of a sweep", config.sweep.option, fields)
    options = getattr(config, section)
    kind = type(getattr(options, name))
    configs = {}
    for value in config.sweep.values:
        if kind not in (int, float) or kind(value) != value:
            raise ValueError(f"sweep: {config.sweep.option} cannot be {value:g}; expected {kind.__name__}")
        for seed in range(config.run.seed, config.run.seed + config.sweep.seeds):
            changed = dataclasses.replace(options, **{name: kind(value)})
            run = dataclasses.replace(config.run, seed=seed)
            point = dataclasses.replace(config, **{section: changed}, run=run, sweep=SweepConfig())
            configs[f"{name}={value:g},seed={seed}"] = point
    return configs


def write(config: StudyConfig, folder: RunFolder, results: list[dict[str, Any]]) -> None:
    """Write report.md, results.json and transition.png over all points.

    Args:
        config: configuration of the sweep.
        folder: its folder.
        results: results.json of every point, in the order of `points`.
    """
    values = [value for value in config.sweep.values for _ in range(config.sweep.seeds)]
    infinite = config.sweep.option.replace("-", "_") == "tasks.num_tasks"
    labels = [("infinity" if infinite and value == 0 else f"{value:g}") for value in values]
    rows = [
        (
            label,
            result["seed"],
            result["phase"],
            *(result["curves"][curve][accuracy] for curve in CURVES.values() for accuracy in ACCURACIES),
            last_quarter(result["references"][UNSEEN]["class mean"]),
            str(result["plateau"]),
        )
        for label, result in zip(labels, results, strict=True)
    ]
    header = (
        config.sweep.option,
        "seed",
        "phase",
        *(f"{name}: {accuracy.replace('_', ' ')}" for name in CURVES for accuracy in ACCURACIES),
        "unseen tasks: class mean, last quarter",
        "plateau, meta-steps",
    )
    draw(config, folder.file("transition.png"), list(dict.fromkeys(labels)), results)
    curves = {name: [result["curves"][name] for result in results] for name in results[0]["curves"]}
    write_results(
        folder,
        {
            "option": config.sweep.option,
            "values": values,
            "seeds": [result["seed"] for result in results],
            "phase": [result["phase"] for result in results],
            "plateau": [result["plateau"] for result in results],
            "state_size": [result["state_size"] for result in results],
            "class_mean_last_quarter": [row[-2] for row in rows],
            "curves": curves,
        },
    )
    sections = {
        "All runs": table(header, rows),
        "Transition": image(
            "transition.png",
            "Left: gain, the accuracy at the last position minus the accuracy at the first. Right: accuracy at the "
            "first position (which uses no context) and over the last quarter. Dots are runs, lines connect means.",
        ),
        "How to read this": (
            "Accuracies are on held-out examples; `last quarter` is the mean over the last quarter of the positions. A "
            "model that memorises tasks is accurate on seen tasks at the first position. A model that identifies tasks "
            "has a gain on seen tasks only. A model that learns to learn has a gain on unseen tasks. Near the "
            "transition, runs with different seeds may be in different phases."
        ),
    }
    write_report(folder, f"{config.model.name} over {config.sweep.option}", config, sections)


def draw(config: StudyConfig, path: Path, labels: list[str], results: list[dict[str, Any]]) -> None:
    """Draw gains, and accuracies at the first and the last positions, over the option's values, for all seeds.

    Args:
        config: configuration of the sweep.
        path: of the figure.
        labels: tick labels, one per value.
        results: results.json of every point, in the order of `points`.
    """
    seeds = config.sweep.seeds

    def grid(name: str, accuracy: str) -> np.ndarray:
        return np.array([result["curves"][name][accuracy] for result in results]).reshape(-1, seeds)

    letters = [name for name in results[0]["curves"] if name.startswith("unseen tasks of letters")]
    gains = {**CURVES, **{name: name for name in letters}}
    accuracies = {
        f"{short}, {accuracy.replace('_', ' ')}": (name, accuracy)
        for short, name in CURVES.items()
        for accuracy in ("first", "last_quarter")
    }
    with plots.figure(path, 1, 2, (4.2, 3.2)) as (_, axes):
        for color, (legend, name) in zip(plots.COLORS, gains.items(), strict=False):
            _line(axes[0, 0], grid(name, "gain"), color, legend)
        for color, (legend, (name, accuracy)) in zip(plots.COLORS, accuracies.items(), strict=False):
            _line(axes[0, 1], grid(name, accuracy), color, legend)
        for axis, title in zip(axes[0], ("gain within a sequence", "accuracy"), strict=True):
            axis.set(title=title, xlabel=config.sweep.option, xticks=range(len(labels)))
            axis.set_xticklabels(labels)
            axis.legend()


def _line(axis: Any, values: np.ndarray, color: str, label: str) -> None:
    positions = np.arange(len(values))
    axis.plot(positions, values.mean(1), color=color, label=label)
    axis.plot(np.repeat(positions, values.shape[1]), values.ravel(), ".", color=color, alpha=0.6)
