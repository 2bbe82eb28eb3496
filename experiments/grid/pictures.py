"""Pictures of the levels with the highest and lowest scores in a replay buffer."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.gridworld import GridLevel, GridWorld, render
from envs.gridworld.render import INK, START, WALL
from lopt.curriculum import Buffer, extremes
from lopt.evaluation.plots import figure

SHOWN = 3
"""Number of levels with the highest scores, and with the lowest, per meta-step."""


def save_extremes(path: Path, buffer: Buffer) -> None:
    """Save the levels with the highest and the lowest scores, and all finite scores, as an npz file."""
    ends = jax.device_get(extremes(buffer, SHOWN))
    number = int(ends.valid.sum())
    arrays = {"high_scores": ends.scores_high[:number], "low_scores": ends.scores_low[:number]}
    for name, levels in {"high": ends.levels_high, "low": ends.levels_low}.items():
        fields = {field: getattr(levels.params, field)[:number] for field in levels.params.__dataclass_fields__}
        arrays |= {f"{name}/{field}": value for field, value in fields.items()}
    score = np.asarray(buffer.score)
    np.savez(path, all_scores=score[np.isfinite(score)], **arrays)


def draw_extremes(folder: Path, path: Path, env: GridWorld, rows: int = 4) -> bool:
    """Draw saved levels over meta-training: highest scores left, lowest right.

    Args:
        folder: the files of `save_extremes`, named after their meta-step.
        path: of the picture.
        env: the grid world of the levels.
        rows: number of meta-steps shown, evenly spaced over the files.

    Returns:
        Whether there was anything to draw.
    """
    files = sorted(folder.glob("*.npz"))
    files = [files[i] for i in sorted({round(x) for x in np.linspace(0, len(files) - 1, rows)})] if files else []
    saved = [(int(file.stem), dict(np.load(file))) for file in files]
    saved = [(step, data) for step, data in saved if len(data["high_scores"])]
    if not saved:
        return False
    with figure(path, len(saved), 2 * SHOWN, size=(2.1, 2.3)) as (drawing, axes):
        for ax in axes.flat:
            ax.set_axis_off()
        for row, (step, data) in zip(axes, saved, strict=True):
            for end, shift in (("high", 0), ("low", SHOWN)):
                for i, score in enumerate(data[f"{end}_scores"]):
                    ax = row[shift + i]
                    ax.set_axis_on()
                    title = f"{score:+.2f}" if i or shift else f"meta-step {step}\n{score:+.2f}"
                    render(_level(data, end, i), env, ax, title=title)
        drawing.legend(handles=_legend(), loc="outside lower center", ncols=2)
        axes[0, 1].text(0.5, 1.35, "highest score", transform=axes[0, 1].transAxes, ha="center", weight="bold")
        axes[0, SHOWN + 1].text(
            0.5, 1.35, "lowest score", transform=axes[0, SHOWN + 1].transAxes, ha="center", weight="bold"
        )
    return True


def _legend() -> list[Any]:
    """Legend entries for what `render` draws."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    disc: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 9}
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
            label="1 to 4 dots: it respawns after about 1,000, 100, 10 steps, at once; none: never",
        ),
    ]


def _level(data: dict[str, Any], end: str, index: int) -> GridLevel:
    return GridLevel(**{field: data[f"{end}/{field}"][index] for field in GridLevel.__dataclass_fields__})
