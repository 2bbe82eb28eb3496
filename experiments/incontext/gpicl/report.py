"""Writes report.md, results.json and the figures of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.incontext.gpicl.config import StudyConfig
from experiments.incontext.gpicl.measure import PLATEAU_FRACTION, phase
from lopt.evaluation import (
    SequenceResult,
    bootstrap,
    curves,
    image,
    last_quarter,
    mean,
    plots,
    table,
    write_report,
    write_results,
)
from lopt.training import RunFolder

SEEN, UNSEEN = "seen tasks, held-out examples", "unseen tasks"


@dataclass(frozen=True)
class Results:
    """Results of a run.

    Attributes:
        curves: measurements of the model, by the names of `measure.meta_testers`.
        references: accuracies `[T]` of the reference classifiers, by these names and by classifier.
        plateau: meta-steps until the end of the initial plateau; None if it did not end.
        state_size: numbers that the model keeps of a sequence.
        parameters: number of meta-parameters.
    """

    curves: Mapping[str, SequenceResult]
    references: Mapping[str, Mapping[str, np.ndarray]]
    plateau: float | None
    state_size: int
    parameters: int


def write(config: StudyConfig, folder: RunFolder, results: Results) -> None:
    """Write results.json, the figures and report.md."""
    summaries = {name: measurement.summary() for name, measurement in results.curves.items()}
    regime = phase(summaries[SEEN], summaries[UNSEEN])
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "num_tasks": config.tasks.num_tasks or "infinite",
            "phase": regime,
            "plateau": results.plateau if results.plateau is not None else "did not end",
            "state_size": results.state_size,
            "parameters": results.parameters,
            "curves": summaries,
            "references": results.references,
        },
    )
    sections = {"Accuracy": _table(results)}
    sections["How to read this"] = definitions(config)
    draw(config, results, folder)
    picture = image(
        "positions.png",
        "Accuracy at every position: the model (band: 95 %), and the reference classifiers on the same sequences.",
    )
    if figure := learning_curves(config, folder):
        sections["Meta-training"] = figure
    write_report(folder, title(config), config, sections, f"{result_text(config, results, regime)}\n\n{picture}")


def title(config: StudyConfig) -> str:
    """Title of the report."""
    return f"In-context learning of {config.tasks.dataset} by {config.model.name}"


def curve_positions(config: StudyConfig) -> list[int]:
    """The positions (from 1) whose accuracies are logged and drawn as learning curves."""
    length = config.tasks.length
    return sorted({1, max(1, length // 4), max(1, length // 2), length})


def learning_curves(config: StudyConfig, folder: RunFolder) -> str:
    """Draw curves.png from the logged metrics, and return the Markdown that shows it; empty without metrics."""
    panels = {
        "mean loss, sequences of all classes": {"seen/loss": "seen tasks", "unseen/loss": "unseen tasks"},
        "unseen tasks: accuracy": {f"unseen/accuracy_{t}": f"position {t}" for t in curve_positions(config)},
        "seen tasks: accuracy": {f"seen/accuracy_{t}": f"position {t}" for t in curve_positions(config)},
        "training: loss": {"loss_first": "first position", "loss_last": "last position"},
    }
    return curves(folder, panels, "meta-step")


def result_text(config: StudyConfig, results: Results, regime: str) -> str:
    """The main results in three sentences.

    Args:
        config: configuration of the run.
        results: its results.
        regime: the result of `measure.phase`.
    """
    unseen = results.curves[UNSEEN].summary()
    class_mean = last_quarter(results.references[UNSEEN]["class mean"])
    plateau = "did not end" if results.plateau is None else f"ended by meta-step {results.plateau:g}"
    number, length, slots = config.tasks.num_tasks or "infinitely many", config.tasks.length, config.tasks.slots
    return (
        f"Meta-trained on {number} tasks, the model **{regime}**. On unseen tasks its accuracy is "
        f"{unseen['first']:.2f} at the first position and {unseen['last_quarter']:.2f} over the last quarter of the "
        f"{length} positions, where the nearest class mean has {class_mean:.2f}. The plateau (mean loss on seen tasks "
        f"above {PLATEAU_FRACTION} log {slots}) {plateau}. Meta-parameters: {results.parameters}; state size after a "
        f"sequence: {results.state_size} numbers."
    )


def definitions(config: StudyConfig) -> str:
    """Definitions of the numbers in the report."""
    return (
        f"Accuracies are means over {config.eval.final_sequences} sequences, each with its own task, with 95 % "
        "bootstrap intervals over sequences. The gain is the accuracy at the last position minus the accuracy at the "
        "first. Seen tasks are those of meta-training; if their number is infinite, none is drawn twice. Other data "
        "sets are not used in meta-training. Reference classifiers are fitted at every position to the earlier "
        "examples of the same sequence."
    )


def _table(results: Results) -> str:
    rows: list[tuple[Any, ...]] = []
    for name, measurement in results.curves.items():
        ends = (bootstrap(measurement.accuracy[:, i].astype(float), mean) for i in (0, -1))
        gain = bootstrap(measurement.gain.astype(float), mean)
        rows.append((name, *ends, gain, *(float(curve[-1]) for curve in results.references[name].values())))
    header = ("tasks", "first", "last", "gain", *next(iter(results.references.values())))
    return table(header, rows)


def draw(config: StudyConfig, results: Results, folder: RunFolder) -> None:
    """Draw positions.png: accuracy by position of the model and of the references, one panel per measurement."""
    path = folder.file("positions.png")
    with plots.panel_grid(path, list(results.curves), 4, (2.9, 2.4), sharex=True, sharey=True) as (figure, axes):
        for name, measurement in results.curves.items():
            axis, positions = axes[name], 1 + np.arange(measurement.accuracy.shape[1])
            for color, (reference, curve) in zip(plots.COLORS[1:], results.references[name].items(), strict=False):
                axis.plot(positions, curve, color=color, linewidth=1, label=reference)
            accuracy = measurement.accuracy.mean(0)
            ends = [bootstrap(x.astype(float), mean, resamples=500) for x in measurement.accuracy.T]
            low, high = [one.low for one in ends], [one.high for one in ends]
            axis.fill_between(positions, low, high, color=plots.COLORS[0], alpha=0.2, lw=0)
            axis.plot(positions, accuracy, color=plots.COLORS[0], linewidth=2, label=config.model.name)
            axis.set(ylim=(0, 1.02), xlabel="position", ylabel="accuracy")
            axis.label_outer()
        plots.shared_legend(figure, axis, above=len(results.references[name]) + 1)
