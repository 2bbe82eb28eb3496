"""Pictures of the levels that a curriculum prefers."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.gridworld import GridLevel, GridWorld, render
from envs.gridworld.render import INK, START, WALL
from experiments.common.plots import figure
from lopt.curriculum import Buffer, extremes

SHOWN = 3
"""Levels per moment and end of the scale."""


def save_extremes(path: Path, buffer: Buffer) -> None:
    """Save the highest and the lowest scored levels, and all scores."""
    ends = jax.device_get(extremes(buffer, SHOWN))
    number = int(ends.valid.sum())
    arrays = {"high_scores": ends.scores_high[:number], "low_scores": ends.scores_low[:number]}
    for name, levels in {"high": ends.levels_high, "low": ends.levels_low}.items():
        fields = {field: getattr(levels.params, field)[:number] for field in levels.params.__dataclass_fields__}
        arrays |= {f"{name}/{field}": value for field, value in fields.items()}
    score = np.asarray(buffer.score)
    np.savez(path, all_scores=score[np.isfinite(score)], **arrays)


def draw_extremes(folder: Path, path: Path, env: GridWorld, moments: int = 4) -> bool:
    """One row per moment: the highest scored levels left, the lowest right. False if there is nothing to draw."""
    files = sorted(folder.glob("*.npz"))
    files = [files[i] for i in sorted({round(x) for x in np.linspace(0, len(files) - 1, moments)})] if files else []
    rows = [(int(file.stem), dict(np.load(file))) for file in files]
    rows = [(step, data) for step, data in rows if len(data["high_scores"])]
    if not rows:
        return False
    with figure(path, len(rows), 2 * SHOWN, size=(2.1, 2.3)) as (drawing, axes):
        for ax in axes.flat:
            ax.set_axis_off()
        for row, (step, data) in zip(axes, rows, strict=True):
            for end, shift in (("high", 0), ("low", SHOWN)):
                for i, score in enumerate(data[f"{end}_scores"]):
                    ax = row[shift + i]
                    ax.set_axis_on()
                    title = f"{score:+.2f}" if i or shift else f"meta-step {step}\n{score:+.2f}"
                    render(_level(data, end, i), env, ax, title=title)
        drawing.legend(handles=_key(), loc="outside lower center", ncols=2)
        axes[0, 1].text(0.5, 1.35, "highest score", transform=axes[0, 1].transAxes, ha="center", weight="bold")
        axes[0, SHOWN + 1].text(
            0.5, 1.35, "lowest score", transform=axes[0, SHOWN + 1].transAxes, ha="center", weight="bold"
        )
    return True


def _key() -> list[Any]:
    """What `render` draws."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    disc = {"linestyle": "none", "marker": "o", "markersize": 9}
    return [
        Patch(color=WALL, label="wall"),
        Patch(facecolor="none", edgecolor=START, linewidth=1.5, label="S: start"),
        Line2D([], [], color="#2ca25f", **disc, label="object with a positive reward (the number)"),
        Line2D([], [], color="#de2d26", **disc, label="object with a negative reward"),
        Line2D(
            [],
            [],
            **disc | {"markersize": 8},
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=2.2,
            label="dark arc: probability that collecting it ends the episode",
        ),
        Line2D(
            [],
            [],
            color=INK,
            linestyle=":",
            linewidth=2,
            label="1 to 4 dots: it comes back in about 1,000, 100, 10 steps, at once; none: never",
        ),
    ]


def _level(data: dict[str, Any], end: str, index: int) -> GridLevel:
    return GridLevel(**{field: data[f"{end}/{field}"][index] for field in GridLevel.__dataclass_fields__})
