"""report.md, results.json and the pictures of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.common import plots
from experiments.common.folder import RunFolder
from experiments.common.report import curves, image, table, write_report, write_results
from experiments.common.stats import bootstrap, mean
from experiments.gpicl.config import StudyConfig
from experiments.gpicl.measure import LEFT, Measured, end, phase

OWN = ("seen tasks, training examples", "seen tasks, held-out examples", "unseen tasks")


@dataclass(frozen=True)
class Results:
    """What a run found, by the name of the measurement; `plateau` in meta-steps, None if it was never left."""

    curves: Mapping[str, Measured]
    references: Mapping[str, Mapping[str, np.ndarray]]
    plateau: float | None
    state_size: int
    parameters: int


def write(config: StudyConfig, folder: RunFolder, results: Results) -> None:
    """Write everything that shows the result."""
    found = {name: measured.summary() for name, measured in results.curves.items()}
    what = phase(found[OWN[1]], found["unseen tasks"])
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "num_tasks": config.tasks.num_tasks or "infinite",
            "phase": what,
            "plateau": results.plateau if results.plateau is not None else "never left",
            "state_size": results.state_size,
            "parameters": results.parameters,
            "curves": found,
            "references": results.references,
        },
    )
    sections = {"What it learned": verdict(config, results, what), "Accuracy": _table(results)}
    sections["How to read this"] = reading(config)
    draw(config, results, folder)
    sections["Accuracy by position"] = image(
        "positions.png", "Accuracy at every position: the model (band: 95 %), and classifiers on the same contexts."
    )
    if drawn := learning(config, folder):
        sections["Meta-training"] = drawn
    write_report(folder, title(config), config, sections)


def title(config: StudyConfig) -> str:
    """Of the report."""
    return f"In-context learning of {config.tasks.dataset} by {config.model.name}"


def places(config: StudyConfig) -> list[int]:
    """The positions whose accuracies make the learning curves."""
    length = config.tasks.length
    return sorted({1, max(1, length // 4), max(1, length // 2), length})


def learning(config: StudyConfig, folder: RunFolder) -> str:
    """Draw the learning curves; the Markdown that shows them."""
    panels = {
        "mean loss, sequences of all classes": {"seen/loss": "seen tasks", "unseen/loss": "unseen tasks"},
        "unseen tasks: accuracy": {f"unseen/accuracy_{t}": f"position {t}" for t in places(config)},
        "seen tasks: accuracy": {f"seen/accuracy_{t}": f"position {t}" for t in places(config)},
        "training: loss": {"loss_first": "first position", "loss_last": "last position"},
    }
    return curves(folder, panels, "meta-step")


def verdict(config: StudyConfig, results: Results, what: str) -> str:
    """The result in a sentence or two."""
    unseen = results.curves["unseen tasks"].summary()
    ceiling = end(results.references["unseen tasks"]["class mean"])
    left = "never left" if results.plateau is None else f"left by meta-step {results.plateau:g}"
    number, length, slots = config.tasks.num_tasks or "infinitely many", config.tasks.length, config.tasks.slots
    return (
        f"Meta-trained on {number} tasks, it **{what}**. On unseen tasks it is right on {unseen['first']:.2f} of the "
        f"first examples and on {unseen['end']:.2f} of those in the last quarter of its {length} positions; the "
        f"nearest class mean on {ceiling:.2f} of these. The plateau (mean loss on seen tasks above {LEFT} log {slots}) "
        f"was {left}. Parameters: {results.parameters}; numbers of state after a sequence: {results.state_size}."
    )


def reading(config: StudyConfig) -> str:
    """What the numbers are."""
    return (
        f"Accuracies are of {config.eval.final_sequences} sequences, each of its own task, with 95 % bootstrap "
        "intervals over sequences; the gain is the accuracy at the last position minus that at the first. Seen tasks "
        "are those of meta-training; where these are infinitely many, none is drawn twice. Other data sets were never "
        "trained on. References are trained anew at every position on what the model was shown."
    )


def _table(results: Results) -> str:
    rows: list[tuple[Any, ...]] = []
    for name, measured in results.curves.items():
        ends = (bootstrap(measured.accuracy[:, i].astype(float), mean) for i in (0, -1))
        gain = bootstrap(measured.gain.astype(float), mean)
        rows.append((name, *ends, gain, *(float(curve[-1]) for curve in results.references[name].values())))
    header = ("tasks", "first", "last", "gain", *next(iter(results.references.values())))
    return table(header, rows)


def draw(config: StudyConfig, results: Results, folder: RunFolder) -> None:
    """A panel per measurement: the model's accuracy by position, and the references'."""
    columns = min(4, len(results.curves))
    lines = -(-len(results.curves) // columns)
    with plots.figure(folder.file("positions.png"), lines, columns, (2.9, 2.4), sharex=True, sharey=True) as (
        drawing,
        axes,
    ):
        for axis, (name, measured) in zip(axes.flat, results.curves.items(), strict=False):
            positions = 1 + np.arange(measured.accuracy.shape[1])
            for color, (who, curve) in zip(plots.COLORS[1:], results.references[name].items(), strict=False):
                axis.plot(positions, curve, color=color, linewidth=1, label=who)
            accuracy = measured.accuracy.mean(0)
            error = 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(measured.accuracy))
            axis.fill_between(positions, accuracy - error, accuracy + error, color=plots.COLORS[0], alpha=0.2, lw=0)
            axis.plot(positions, accuracy, color=plots.COLORS[0], linewidth=2, label=config.model.name)
            axis.set(title=name, ylim=(0, 1.02))
        for axis in axes.flat[len(results.curves) :]:
            axis.set_visible(False)
        for axis in axes[-1]:
            axis.set_xlabel("position")
        for axis in axes[:, 0]:
            axis.set_ylabel("accuracy")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper center", ncols=len(labels))
