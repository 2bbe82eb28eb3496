"""The figures of the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.incontext.mesa.config import MesaConfig
from experiments.incontext.mesa.diagonal_unitary import Variant
from lopt.evaluation import image, plots
from lopt.training import RunFolder, read_metrics

GREY = "#a0a0a0"


def draw(config: MesaConfig, folder: RunFolder, results: Any) -> None:
    """Draw flow.png, weights.png, errors.png and layers.png from the `Results` of a run."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    _flow(config, folder, results.diagonal_unitary)
    _weights(folder, results.diagonal_unitary)
    _errors(folder, results.diagonal_unitary)
    _layers(folder, results, rows)


def _flow(config: MesaConfig, folder: RunFolder, diagonal_unitary: dict) -> None:
    """The paths (a, b) of the exact flow, with the theorem's limit and conserved quantity."""
    with plots.figure(folder.file("flow.png"), columns=len(diagonal_unitary), size=(3.0, 2.9)) as (_, axes):
        for axis, (name, f) in zip(axes[0], diagonal_unitary.items(), strict=True):
            d, task = f.variant.task.dimensions, f.variant.task
            a = np.einsum("...ii->...i", f.flow_path["kq"][..., d:, :d]).mean(-1)
            b = np.einsum("...ii->...i", f.flow_path["pv"][..., :d]).mean(-1)
            grid = np.geomspace(0.02, 4, 200)
            axis.plot(grid, task.limit_product() / grid, color="black", linewidth=1)
            for i, ((x, y), color) in enumerate(
                zip(config.diagonal_unitary.initial_weights, plots.COLORS, strict=False)
            ):
                square = grid**2 - (x * x - y * y)
                axis.plot(grid, np.sqrt(np.where(square > 0, square, np.nan)), color=GREY, linewidth=0.8, zorder=1)
                axis.plot([x, *a[:, i]], [y, *b[:, i]], color=color, linewidth=2.2)
                axis.plot([x], [y], color=color, marker="o", markersize=5)
            top = 1.1 * max(max(pair) for pair in config.diagonal_unitary.initial_weights)
            axis.set(title=name, xlabel="a", ylabel="b", xlim=(0, top), ylim=(0, top))


def training(config: MesaConfig, folder: RunFolder, variants: Sequence[Variant]) -> str:
    """Draw training.png from the logged metrics, and return the Markdown that shows it."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    with plots.figure(folder.file("training.png"), columns=len(variants), size=(3.0, 2.7)) as (_, axes):
        for axis, variant in zip(axes[0], variants, strict=True):
            for (x, y), color in zip(config.diagonal_unitary.initial_weights, plots.COLORS, strict=False):
                key = f"{variant.name}/ab from {x:g}, {y:g}"
                points = [(row["step"], row[key]) for row in rows if key in row]
                axis.plot(*zip((0, x * y), *points, strict=True), color=color, label=f"({x:g}, {y:g})")
            limit = variant.task.limit_product()
            axis.axhline(limit, color="black", linestyle="--", linewidth=1)
            axis.set(title=variant.name, xlabel="step", ylabel="ab", ylim=(0, 2.5 * limit))
        axes[0, 0].legend(title="initial (a, b)")
    text = "ab during training on samples, mean over replicas; dashed: the limit c* of the theory."
    return image("training.png", text)


def _weights(folder: RunFolder, diagonal_unitary: dict) -> None:
    """W_PV and W_KQ at the end of the exact flow."""
    heights = {"height_ratios": [1, 2]}
    path = folder.file("weights.png")
    with plots.figure(path, 2, len(diagonal_unitary), size=(2.4, 2.0), gridspec_kw=heights) as (figure, axes):
        colors = None
        for column, (name, f) in zip(axes.T, diagonal_unitary.items(), strict=True):
            weights = [np.asarray(f.flow_end[part][0]) for part in ("pv", "kq")]
            limit = max(np.abs(w).max() for w in weights)
            for axis, w, part in zip(column, weights, ("W_PV", "W_KQ"), strict=True):
                colors = axis.imshow(w / limit, cmap="RdBu_r", vmin=-1, vmax=1)
                axis.set(title=f"{name}\n{part}" if part == "W_PV" else part, xticks=[], yticks=[])
                axis.grid(False)
                axis.axvline(w.shape[1] / 2 - 0.5, color=GREY, linewidth=0.8)
                if part == "W_KQ":
                    axis.axhline(w.shape[0] / 2 - 0.5, color=GREY, linewidth=0.8)
        figure.colorbar(colors, ax=axes, shrink=0.6, label="entry / largest absolute entry")


def _errors(folder: RunFolder, diagonal_unitary: dict) -> None:
    """Relative errors by position: theory as lines, the end of the exact flow as points."""
    with plots.figure(folder.file("errors.png"), size=(5.6, 3.4)) as (_, axes):
        axis = axes[0, 0]
        for color, (name, f) in zip(plots.COLORS, diagonal_unitary.items(), strict=False):
            task, mean = f.variant.task, f.flow_evaluation.errors.mean(0)
            t = np.arange(2, task.length)
            if name != "ones":
                axis.plot(t, task.relative_error(task.limit_product()), color=color, linewidth=1.4)
            shown = np.unique(np.round(np.geomspace(1, len(t), 18)).astype(int)) - 1
            axis.plot(t[shown], mean[shown], color=color, marker="o", markersize=4, linestyle="none", label=name)
        axis.axhline(1, color=GREY, linewidth=1)
        axis.set(xlabel="position t", ylabel="relative squared error", xscale="log", ylim=(-0.03, None))
        axis.legend(title="x_1")


def _layers(folder: RunFolder, results: Any, rows: list) -> None:
    """Training loss of few-shot attention, and losses by position on linear systems."""
    with plots.figure(folder.file("layers.png"), columns=2, size=(4.2, 3.0)) as (_, axes):
        left, right = axes[0]
        theory = results.few_shot.theory
        points = [(row["step"], row["few-shot/loss"]) for row in rows if "few-shot/loss" in row]
        left.plot(*zip(*points, strict=True), color=plots.COLORS[0])
        left.axhline(theory.loss(0.0), color=GREY, linewidth=1, label="predicting zero")
        left.axhline(
            theory.loss(theory.step_size), color="black", linestyle="--", linewidth=1, label="optimal single step"
        )
        left.set(title="few-shot attention", xlabel="step", ylabel="loss", ylim=(0, 1.1 * theory.loss(0.0)))
        left.legend(loc="lower left")
        styles = ("-", "-", "--")
        for color, style, (name, losses) in zip(plots.COLORS, styles, results.systems.losses.items(), strict=False):
            mean = losses.mean(0)
            right.plot(np.arange(1, len(mean) + 1), mean, color=color, linestyle=style, label=name)
        right.set(title="linear systems", xlabel="position t", ylabel="loss", yscale="log")
        right.legend(loc="center right")
