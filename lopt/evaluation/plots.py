"""Plots common to all studies: learning curves from `metrics.jsonl`, and estimates with intervals."""

import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lopt.evaluation.statistics import Interval
from lopt.training.metrics_log import read_metrics

Panels = Mapping[str, Sequence[str] | Mapping[str, str]]
"""For each title, the metrics of a panel, or a dict from metrics to their labels in the legend."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito, safe for colour blindness."""
DASHES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
"""What tells lines and points of one colour apart, from the eighth on."""
LONGEST_LABEL = 32
"""Number of characters of the longest label in a legend."""

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "axes.edgecolor": "#808080",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 130,
}


@contextmanager
def figure(path: str | Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (3.6, 2.6), **options: Any):
    """Context that yields `(figure, axes[rows, columns])` in the common style and saves the figure at the end.

    Args:
        path: of the image.
        rows: of panels.
        columns: of panels.
        size: width and height of a panel in inches.
        **options: keyword arguments of `matplotlib.figure.Figure.subplots`.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        drawing = Figure((size[0] * columns, size[1] * rows), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing, drawing.subplots(rows, columns, squeeze=False, **options)
        drawing.savefig(path)


def line_style(number: int) -> dict[str, str]:
    """Colour and dashes of line `number`, counted from zero: seven colours, then the same with other dashes."""
    rounds, color = divmod(number, len(COLORS))
    return {"color": COLORS[color], "linestyle": DASHES[rounds % len(DASHES)]}


@contextmanager
def panel_grid(
    path: str | Path, titles: Sequence[str], columns: int, size: tuple[float, float] = (3.6, 2.6), **options: Any
):
    """As `figure`, with a panel for each title in rows of at most `columns`; yields `(figure, {title: axis})`."""
    columns = min(columns, len(titles))
    with figure(path, math.ceil(len(titles) / columns), columns, size, **options) as (drawing, axes):
        for axis in axes.flat[len(titles) :]:
            axis.set_visible(False)
        for axis, title in zip(axes.flat, titles, strict=False):
            axis.set_title(title)
        yield drawing, dict(zip(titles, axes.flat, strict=False))


def shared_legend(drawing: Any, axis: Any, above: int | None = None) -> None:
    """One legend for all panels, with the labels of one of them, at the right; or `above`, in so many columns.

    Of a long label, such as a path, the end is shown.
    """
    handles, labels = axis.get_legend_handles_labels()
    labels = [label if len(label) <= LONGEST_LABEL else f"...{label[3 - LONGEST_LABEL :]}" for label in labels]
    place = "outside right center" if above is None else "outside upper center"
    drawing.legend(handles, labels, loc=place, ncols=min(above or 1, max(1, len(labels))))


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean over `window` values, without those that are not finite; shorter windows at both ends."""
    is_finite = np.isfinite(values)
    ones = np.ones(max(1, min(window, len(values))))
    total = np.convolve(np.where(is_finite, values, 0.0), ones, "same")
    count = np.convolve(is_finite.astype(float), ones, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curves(
    metrics: str | Path | Sequence[Mapping[str, float]],
    path: str | Path,
    panels: Panels | None = None,
    xlabel: str = "step",
    window: int | None = None,
    lines: Mapping[str, Mapping[str, float]] | None = None,
) -> bool:
    """Plot metrics over steps: raw values in pale colours, and their moving mean.

    Args:
        metrics: a `metrics.jsonl`, or its rows.
        path: of the image.
        panels: metrics by the panel's title; None for one panel per metric whose name does not begin with `time/`.
        xlabel: label of the horizontal axes.
        window: of the moving mean, in points; None for a twentieth of the run.
        lines: horizontal lines for comparison: for each panel's title, values by label.

    Returns:
        Whether there was a metric with at least two values; without one, no image is written.
    """
    rows = metrics if isinstance(metrics, Sequence) and not isinstance(metrics, str) else read_metrics(metrics)
    names = dict.fromkeys(name for row in rows for name in row if name != "step" and not name.startswith("time/"))
    series = {name: _series(rows, name) for name in names}
    groups = panels if panels is not None else {name: [name] for name in names}
    labels = {name: text for group in groups.values() if isinstance(group, Mapping) for name, text in group.items()}
    filled = {
        title: [name for name in group if name in series and len(series[name][0]) > 1]
        for title, group in groups.items()
    }
    filled = {title: group for title, group in filled.items() if group}
    if not filled:
        return False
    with panel_grid(path, list(filled), 2 if len(filled) == 4 else 3) as (_, axes):
        for title, group in filled.items():
            axis = axes[title]
            for i, name in enumerate(group):
                _curve(axis, *series[name], window, line_style(i), labels.get(name, name))
            marks = (lines or {}).get(title, {})
            for (text, value), style in zip(marks.items(), ("--", ":", "-."), strict=False):
                axis.axhline(value, color="#404040", linestyle=style, linewidth=1, label=text)
            axis.set(xlabel=xlabel)
            if len(group) + len(marks) > 1:
                axis.legend(loc=_free_corner([series[name][1] for name in group]))
    return True


def intervals(table: Mapping[str, Mapping[str, Interval]], path: str | Path, xlabel: str, zero: bool = False) -> None:
    """Plot estimates with their intervals: one group per row of the table, one colour and marker per method.

    A table of one row has a line for each method, labelled at the axis.

    Args:
        table: `table[row][method]` is an `Interval`; a row may lack methods.
        path: of the image.
        xlabel: label of the horizontal axis.
        zero: whether zero is marked, for differences.
    """
    methods = list(dict.fromkeys(method for row in table.values() for method in row))
    height = 0.7 + 0.12 * len(table) * (len(methods) + 1.5)
    with figure(path, size=(6.0, max(1.6, height))) as (drawing, axes):
        axis = axes[0, 0]
        if len(table) == 1:  # a label of its own for every method, which a legend would repeat
            ((group, row),) = table.items()
            for j, name in enumerate(row):
                _interval(axis, j, row[name], 0, None)
            ticks = list(row)
            axis.set(title=group)
        else:
            for i, row in enumerate(table.values()):
                for j, method in enumerate(methods):
                    if method in row:
                        y = i + 0.7 * ((j + 0.5) / len(methods) - 0.5)
                        label = method if i == _first(table, method) else None
                        _interval(axis, y, row[method], j, label)
            ticks = list(table)
            if len(methods) > 1:
                drawing.legend(loc="outside upper center", ncols=min(4, len(methods)))
        if zero:
            axis.axvline(0, color="#808080", linewidth=1)
        axis.set(yticks=range(len(ticks)), yticklabels=ticks, xlabel=xlabel)
        axis.set_ylim(len(ticks) - 0.5, -0.5)
        axis.grid(False, axis="y")


def _series(rows: Sequence[Mapping[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
    return np.array([x for x, _ in points], float), np.array([y for _, y in points], float)


def _free_corner(curves: Sequence[np.ndarray]) -> str:
    """The corner at the right that the curves leave free; matplotlib's "best" takes seconds with many points."""
    late = [y for curve in curves for y in curve[len(curve) // 2 :]]
    everything = np.concatenate(list(curves))
    return "lower right" if np.mean(late) > (everything.min() + everything.max()) / 2 else "upper right"


def _curve(axis: Any, x: np.ndarray, y: np.ndarray, window: int | None, style: dict[str, str], label: str) -> None:
    width = max(1, len(x) // 20) if window is None else window
    if width > 1:
        axis.plot(x, y, color=style["color"], linewidth=0.6, alpha=0.3)
    marker = "." if len(x) <= 20 else None
    axis.plot(x, smooth(y, width), linewidth=1.6, marker=marker, label=label, **style)


def _interval(axis: Any, y: float, estimate: Interval, number: int, label: str | None) -> None:
    rounds, which = divmod(number, len(COLORS))
    color, marker = COLORS[which], MARKERS[rounds % len(MARKERS)]
    axis.plot([estimate.low, estimate.high], [y, y], color=color, linewidth=3, alpha=0.45, solid_capstyle="butt")
    axis.plot([estimate.value], [y], color=color, marker=marker, markersize=4.5, linestyle="none", label=label)


def _first(table: Mapping[str, Mapping[str, Interval]], method: str) -> int:
    return next(i for i, row in enumerate(table.values()) if method in row)
