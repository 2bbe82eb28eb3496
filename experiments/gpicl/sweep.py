"""Many runs that differ in one option and in their seed: the transition from memorising to learning, and the like."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.common import plots
from experiments.common.cli import command_line, near_match_error, resume_command
from experiments.common.folder import RunFolder, open_folder
from experiments.common.loop import Outcome
from experiments.common.report import image, table, write_report, write_results
from experiments.gpicl.config import StudyConfig, SweepConfig
from experiments.gpicl.measure import end

CURVES = {
    "seen tasks": "seen tasks, held-out examples",
    "unseen tasks": "unseen tasks",
}


def main(config: StudyConfig, single: Callable[[StudyConfig], Outcome]) -> None:
    """Run every point that has not been run, each in a folder of its own, and draw what came of them.

    Raises:
        ValueError: an option that does not exist, or a value that it cannot have.
    """
    todo = points(config)
    folder = open_folder(config, command_line())
    try:
        if _run(config, folder, todo, single):
            found = [json.loads((folder.path / "points" / name / "results.json").read_text()) for name in todo]
            write(config, folder, found)
            print(f"report: {folder.path / 'report.md'}")
    finally:
        folder.close()


def _run(
    config: StudyConfig, folder: RunFolder, todo: dict[str, StudyConfig], single: Callable[[StudyConfig], Outcome]
) -> bool:
    """Run the points that have no results yet; False if it was stopped before the last."""
    done, began = 0, time.monotonic()
    folder.checkpoints.save(done, {"done": jnp.int32(done)})
    for name, point in todo.items():
        path = folder.path / "points" / name
        if not (path / "results.json").exists():
            left = None
            if config.run.max_minutes is not None:
                left = config.run.max_minutes - (time.monotonic() - began) / 60
            if left is not None and left <= 0:
                print(f"stopped before {name} (the time limit was reached); to go on:\n  {resume_command()}")
                return False
            begun = any((path / "checkpoints").glob("*"))
            control = dataclasses.replace(
                config.run, out=str(path), seed=point.run.seed, resume=begun, overwrite=False, max_minutes=left
            )
            print(f"{name} ({done + 1} of {len(todo)})", flush=True)
            if single(dataclasses.replace(point, run=control)).stopped:
                return False
        done += 1
        folder.checkpoints.save(done, {"done": jnp.int32(done)})
    return True


def points(config: StudyConfig) -> dict[str, StudyConfig]:
    """The configuration of every run, by the name of its folder."""
    section, _, name = config.sweep.option.partition(".")
    name = name.replace("-", "_")
    sections = ("tasks", "model", "meta")
    fields = [f"{s}.{f.name}" for s in sections for f in dataclasses.fields(getattr(config, s))]
    if f"{section}.{name}" not in fields:
        raise near_match_error("option of a sweep", config.sweep.option, fields)
    old = getattr(config, section)
    kind = type(getattr(old, name))
    found = {}
    for value in config.sweep.values:
        if kind not in (int, float) or kind(value) != value:
            raise ValueError(f"sweep: {config.sweep.option} cannot be {value:g}; expected {kind.__name__}")
        for seed in range(config.run.seed, config.run.seed + config.sweep.seeds):
            changed = dataclasses.replace(old, **{name: kind(value)})
            run = dataclasses.replace(config.run, seed=seed)
            point = dataclasses.replace(config, **{section: changed}, run=run, sweep=SweepConfig())
            found[f"{name}={value:g},seed={seed}"] = point
    return found


def write(config: StudyConfig, folder: RunFolder, results: list[dict[str, Any]]) -> None:
    """The report over all points."""
    values = [value for value in config.sweep.values for _ in range(config.sweep.seeds)]
    infinite = config.sweep.option.replace("-", "_") == "tasks.num_tasks"
    label = [("infinity" if infinite and value == 0 else f"{value:g}") for value in values]
    rows = [
        (
            name,
            found["seed"],
            found["phase"],
            *(found["curves"][CURVES[c]][what] for c in CURVES for what in ("first", "end", "gain")),
            end(found["references"]["unseen tasks"]["class mean"]),
            str(found["plateau"]),
        )
        for name, found in zip(label, results, strict=True)
    ]
    header = (
        config.sweep.option,
        "seed",
        "what it learned",
        *(f"{c}: {what}" for c in CURVES for what in ("first", "end", "gain")),
        "unseen tasks: class mean, end",
        "plateau, meta-steps",
    )
    draw(config, folder.file("transition.png"), list(dict.fromkeys(label)), results)
    others = {name: [found["curves"][name] for found in results] for name in results[0]["curves"]}
    write_results(
        folder,
        {
            "option": config.sweep.option,
            "values": values,
            "seeds": [found["seed"] for found in results],
            "phase": [found["phase"] for found in results],
            "plateau": [found["plateau"] for found in results],
            "state_size": [found["state_size"] for found in results],
            "class_mean_end": [row[-2] for row in rows],
            "curves": others,
        },
    )
    sections = {
        "Every run": table(header, rows),
        "In the picture": image(
            "transition.png",
            "Left: gain within a sequence, accuracy at the last position minus that at the first. Right: accuracy at "
            "the first position (what needs no context) and over the last quarter. A dot is a run; lines join means.",
        ),
        "How to read this": (
            "Accuracies are on held-out examples; `end` is the mean over the last quarter of the positions. A model "
            "that memorises knows seen tasks at the first position; one that identifies tasks gains within sequences "
            "of seen tasks only; one that learns to learn gains on unseen tasks. Near the transition runs may end on "
            "either side of it: look at the dots."
        ),
    }
    write_report(folder, f"{config.model.name} over {config.sweep.option}", config, sections)


def draw(config: StudyConfig, path: Path, label: list[str], results: list[dict[str, Any]]) -> None:
    """Gains, and the ends of the curves, over the option's values; all seeds are shown."""
    seeds = config.sweep.seeds

    def grid(name: str, what: str) -> np.ndarray:
        return np.array([found["curves"][name][what] for found in results]).reshape(-1, seeds)

    others = [name for name in results[0]["curves"] if name.startswith("unseen tasks of letters")]
    gains = {**CURVES, **{name: name for name in others}}
    ends = {f"{c}, {what}": (name, what) for c, name in CURVES.items() for what in ("first", "end")}
    with plots.figure(path, 1, 2, (4.2, 3.2)) as (_, axes):
        for color, (legend, name) in zip(plots.COLORS, gains.items(), strict=False):
            _line(axes[0, 0], grid(name, "gain"), color, legend)
        for color, (legend, (name, what)) in zip(plots.COLORS, ends.items(), strict=False):
            _line(axes[0, 1], grid(name, what), color, legend)
        for axis, title in zip(axes[0], ("gain within a sequence", "accuracy"), strict=True):
            axis.set(title=title, xlabel=config.sweep.option, xticks=range(len(label)))
            axis.set_xticklabels(label)
            axis.legend()


def _line(axis: Any, values: np.ndarray, color: str, label: str) -> None:
    places = np.arange(len(values))
    axis.plot(places, values.mean(1), color=color, label=label)
    axis.plot(np.repeat(places, values.shape[1]), values.ravel(), ".", color=color, alpha=0.6)
