"""The figures of the report."""

from typing import Any

import numpy as np
from scipy import stats

from experiments.incontext.uncertainty.build import TRAINING
from lopt.evaluation import plots
from lopt.evaluation.regression import Predictions
from lopt.training import RunFolder

GREY = "#909090"
BASELINE_STYLES = ("--", ":", "-.", (0, (1, 3)), (0, (5, 4)))
COVERAGE = "coverage (nominal 0.90)"


def positions(folder: RunFolder, results: Any, uncertain: bool) -> None:
    """Draw positions.png: squared errors of models and references by position.

    If the models predict sigma_hat (`uncertain`), also the loss, sigma_hat and the coverage.
    """
    with plots.figure(
        folder.file("positions.png"), columns=4 if uncertain else 1, size=(3.3, 2.9) if uncertain else (5.6, 3.4)
    ) as (figure, axes):
        for axis, (title, quantity) in zip(axes[0], _quantities(uncertain).items(), strict=True):
            _models_and_exact(axis, results, TRAINING, quantity)
            if title == "squared error":
                references = results.references[TRAINING]
                baselines = [(name, p) for name, p in references.items() if name != results.exact]
                for style, (name, p) in zip(BASELINE_STYLES, baselines, strict=False):
                    mean = quantity(p).mean(0)
                    axis.plot(np.arange(p.ys.shape[1]), mean, color=GREY, linestyle=style, label=name)
                top = np.square(references[results.exact].ys).mean()
                axis.set_ylim(0 if uncertain else 1e-4 * top, 1.3 * top)
                axis.set_yscale("linear" if uncertain else "log")
            if title == COVERAGE:
                axis.axhline(0.9, color=GREY, linewidth=1)
            axis.set(title=title, xlabel="examples in context")
        plots.shared_legend(figure, axes[0, 0], above=4)


def shifts(folder: RunFolder, results: Any, uncertain: bool) -> None:
    """Draw shifts.png: loss or squared error by position, one panel per shifted distribution."""
    names = [name for name in results.references if name != TRAINING]
    quantity = list(_quantities(uncertain).values())[1 if uncertain else 0]
    with plots.panel_grid(folder.file("shifts.png"), names, 3, size=(3.2, 2.3)) as (figure, axes):
        for name, axis in axes.items():
            _models_and_exact(axis, results, name, quantity)
            axis.set(xlabel="examples in context", ylabel="loss" if uncertain else "squared error")
            if not uncertain:
                axis.set_yscale("log")
            elif name != "random labels":
                low, high = (quantity(results.references[name][results.exact]).mean(0)[i] for i in (-1, 0))
                axis.set_ylim(low - 0.5, max(high, low) + 1.5)
        plots.shared_legend(figure, axis, above=4)


def calibration(folder: RunFolder, results: Any, min_examples: int) -> None:
    """Draw calibration.png: observed against nominal coverage, without shift and under shifts of noise and inputs.

    Only positions with at least `min_examples` earlier examples count.
    """
    levels = np.linspace(0.05, 0.95, 19)
    shifts = [name for name in results.references if name.startswith(("noise", "inputs twice"))]
    names = [TRAINING, *shifts]
    with plots.figure(folder.file("calibration.png"), columns=len(names), size=(2.7, 2.8)) as (figure, axes):
        for axis, name in zip(axes[0], names, strict=True):
            predictions = {model: by_shift[name] for model, by_shift in results.models.items()}
            predictions[results.exact] = results.references[name][results.exact]
            for color, (method, p) in zip(_colors(results), predictions.items(), strict=True):
                z = np.abs((p.ys - p.mean) / p.std)[:, min_examples:]
                observed = [(z < stats.norm.ppf(0.5 + level / 2)).mean() for level in levels]
                axis.plot(levels, observed, color=color, label=method, linewidth=1.6)
            axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
            axis.set(title=name, xlabel="nominal coverage", xlim=(0, 1), ylim=(0, 1))
        axes[0, 0].set_ylabel("observed coverage")
        plots.shared_legend(figure, axes[0, 0], above=4)


def diversity(folder: RunFolder, results: Any, min_examples: int) -> None:
    """Draw diversity.png: distances to the two posteriors by pool size, on new functions and on the model's pool."""
    rows = results.distances(min_examples)
    names = list(results.models)
    with plots.figure(folder.file("diversity.png"), columns=2, size=(3.8, 2.9), sharey=True) as (_, axes):
        for axis, functions in zip(axes[0], ("new functions", "its own pool"), strict=True):
            panel: list[Any] = [(names.index(model), pool, prior) for model, on, pool, prior in rows if on == functions]
            for color, label, part in (
                (plots.COLORS[1], "posterior over the pool", 1),
                (plots.COLORS[0], f"{results.exact}, all functions", 2),
            ):
                points = [(row[0], row[part]) for row in panel if row[part] is not None]
                x = [i for i, _ in points]
                axis.fill_between(x, [p.low for _, p in points], [p.high for _, p in points], color=color, alpha=0.2)
                axis.plot(
                    x,
                    [p.value for _, p in points],
                    color=color,
                    marker="o",
                    label=f"to the {label}" if part == 1 else f"to {label}",
                )
            axis.set(title=f"on {functions}", yscale="log", xticks=range(len(names)))
            axis.set_xticklabels([name.removeprefix("pool of ").replace("new functions", "new") for name in names])
            axis.set_xlabel("training functions")
        axes[0, 0].set_ylabel("squared distance / mean square of y")
        axes[0, 0].legend()


def _quantities(uncertain: bool) -> dict[str, Any]:
    """Functions from `Predictions` to values `[n, T]`, by the titles of their panels."""
    quantities = {"squared error": lambda p: p.squared_error}
    if not uncertain:
        return quantities
    return quantities | {
        "loss": lambda p: p.loss,
        "sigma_hat": lambda p: p.std,
        COVERAGE: lambda p: p.coverage,
    }


def _models_and_exact(axis: Any, results: Any, name: str, quantity: Any) -> None:
    """Plot the mean of a quantity by position, for all models and the exact reference, on one distribution."""
    exact: Predictions = results.references[name][results.exact]
    predictions = {model: by_shift[name] for model, by_shift in results.models.items()} | {results.exact: exact}
    for color, (method, p) in zip(_colors(results), predictions.items(), strict=True):
        style = "--" if p is exact else "-"
        axis.plot(np.arange(p.ys.shape[1]), quantity(p).mean(0), color=color, linestyle=style, label=method)


def _colors(results: Any) -> list[str]:
    """Colours of the models, and black for the exact reference."""
    return [*plots.COLORS[: len(results.models)], "black"]
