"""The study's pictures."""

from typing import Any

import numpy as np
from scipy import stats

from experiments.common import plots
from experiments.common.folder import RunFolder
from experiments.icl_uncertainty.build import TRAINING
from experiments.icl_uncertainty.measure import Predicted

GREY = "#909090"
OTHERS = ("--", ":", "-.", (0, (1, 3)), (0, (5, 4)))


def positions(folder: RunFolder, found: Any, uncertain: bool) -> None:
    """positions.png: squared errors of everyone; of those with a sigma_hat also the loss, sigma_hat and coverage."""
    with plots.figure(
        folder.file("positions.png"), columns=4 if uncertain else 1, size=(3.3, 2.9) if uncertain else (5.6, 3.4)
    ) as (drawing, axes):
        for axis, (title, of) in zip(axes[0], _quantities(uncertain).items(), strict=True):
            _models_and_exact(axis, found, TRAINING, of)
            if title == "squared error":
                others = [(w, p) for w, p in found.references[TRAINING].items() if w != found.exact]
                for style, (who, p) in zip(OTHERS, others, strict=False):
                    axis.plot(np.arange(p.ys.shape[1]), of(p).mean(0), color=GREY, linestyle=style, label=who)
                top = np.square(found.references[TRAINING][found.exact].ys).mean()
                axis.set_ylim(0 if uncertain else 1e-4 * top, 1.3 * top)
                axis.set_yscale("linear" if uncertain else "log")
            if title == "covered (aim 0.90)":
                axis.axhline(0.9, color=GREY, linewidth=1)
            axis.set(title=title, xlabel="examples seen")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))


def shifts(folder: RunFolder, found: Any, uncertain: bool) -> None:
    """shifts.png: a panel per distribution."""
    names = [name for name in found.references if name != TRAINING]
    columns = 3
    lines = -(-len(names) // columns)
    of = list(_quantities(uncertain).values())[1 if uncertain else 0]
    with plots.figure(folder.file("shifts.png"), lines, columns, size=(3.2, 2.3)) as (drawing, axes):
        for axis, name in zip(axes.flat, names, strict=False):
            _models_and_exact(axis, found, name, of)
            axis.set(title=name, xlabel="examples seen", ylabel="loss" if uncertain else "squared error")
            if not uncertain:
                axis.set_yscale("log")
            elif name != "random labels":
                low, high = (of(found.references[name][found.exact]).mean(0)[i] for i in (-1, 0))
                axis.set_ylim(low - 0.5, max(high, low) + 1.5)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper center", ncols=4)


def calibration(folder: RunFolder, found: Any, late: int) -> None:
    """calibration.png: nominal against observed coverage, as in training and under the shifts of noise and inputs."""
    levels = np.linspace(0.05, 0.95, 19)
    names = [TRAINING, *[n for n in found.references if n.startswith(("noise", "inputs twice"))]]
    with plots.figure(folder.file("calibration.png"), columns=len(names), size=(2.7, 2.8)) as (drawing, axes):
        for axis, name in zip(axes[0], names, strict=True):
            everyone = {who: by[name] for who, by in found.models.items()}
            everyone[found.exact] = found.references[name][found.exact]
            for color, (who, p) in zip(_colors(found), everyone.items(), strict=True):
                z = np.abs((p.ys - p.mean) / p.std)[:, late:]
                observed = [(z < stats.norm.ppf(0.5 + level / 2)).mean() for level in levels]
                axis.plot(levels, observed, color=color, label=who, linewidth=1.6)
            axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
            axis.set(title=name, xlabel="nominal", xlim=(0, 1), ylim=(0, 1))
        axes[0, 0].set_ylabel("observed")
        drawing.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)


def diversity(folder: RunFolder, found: Any, late: int) -> None:
    """diversity.png: distances to the two posteriors over the size of the pool, on new functions and on the pool's."""
    rows = found.distances(late)
    names = list(found.models)
    with plots.figure(folder.file("diversity.png"), columns=2, size=(3.8, 2.9), sharey=True) as (_, axes):
        for axis, on in zip(axes[0], ("new functions", "its own pool"), strict=True):
            here = [(names.index(who), pool, everything) for who, where, pool, everything in rows if where == on]
            for color, label, part in (
                (plots.COLORS[1], "posterior over the pool", 1),
                (plots.COLORS[0], f"{found.exact}, all functions", 2),
            ):
                points = [(row[0], row[part]) for row in here if row[part] is not None]
                x = [i for i, _ in points]
                axis.fill_between(x, [p.low for _, p in points], [p.high for _, p in points], color=color, alpha=0.2)
                axis.plot(
                    x,
                    [p.value for _, p in points],
                    color=color,
                    marker="o",
                    label=f"to the {label}" if part == 1 else f"to {label}",
                )
            axis.set(title=f"on {on}", yscale="log", xticks=range(len(names)))
            axis.set_xticklabels([name.removeprefix("pool of ").replace("new functions", "new") for name in names])
            axis.set_xlabel("functions trained on")
        axes[0, 0].set_ylabel("squared distance / variance")
        axes[0, 0].legend()


def _quantities(uncertain: bool) -> dict[str, Any]:
    first = {"squared error": lambda p: p.squared_error}
    if not uncertain:
        return first
    return first | {
        "loss": lambda p: p.loss,
        "sigma_hat": lambda p: p.std,
        "covered (aim 0.90)": lambda p: p.covered,
    }


def _models_and_exact(axis: Any, found: Any, name: str, of: Any) -> None:
    exact: Predicted = found.references[name][found.exact]
    everyone = {who: by[name] for who, by in found.models.items()} | {found.exact: exact}
    for color, (who, p) in zip(_colors(found), everyone.items(), strict=True):
        style = "--" if p is exact else "-"
        axis.plot(np.arange(p.ys.shape[1]), of(p).mean(0), color=color, linestyle=style, label=who)


def _colors(found: Any) -> list[str]:
    return [*plots.COLORS[: len(found.models)], "black"]
