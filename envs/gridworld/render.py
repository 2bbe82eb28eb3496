"""Plots of grid-world levels with matplotlib: walls, start, objects, policies, visits and trajectories."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from envs.gridworld.grid import GridWorld
from envs.gridworld.level import GridLevel

WALL, FLOOR, LINE, INK, START = "#2f3542", "#fbfaf7", "#e4e1da", "#2f3542", "#3a6ea5"


def render(
    level: GridLevel, environment: GridWorld, ax: Any = None, title: str | None = None, annotate: bool = True
) -> Any:
    """Draw a level on matplotlib axes (new ones if `ax` is None) and return them.

    An object is a disc with its reward, green if positive and red if negative, darker for larger rewards.
    The dark arc around it is the probability that collecting it ends the episode. The dots on it show the mean time to
    its respawn (one to four: about 1000, 100, 10 steps, or 1 step; none: never). The plot is cropped to the part of the
    grid that has free cells.
    """
    import matplotlib.pyplot as plt

    level = jax.tree.map(np.asarray, level)
    height, width = environment.height, environment.width
    free = np.asarray(level.free).reshape(height, width)
    rows, columns = np.flatnonzero(free.any(1)), np.flatnonzero(free.any(0))
    if ax is None:
        _, ax = plt.subplots(figsize=(0.5 * (columns[-1] + 1), 0.5 * (rows[-1] + 1)), layout="constrained")
    points = _draw_floor(ax, free, int(rows[-1]) + 1, int(columns[-1]) + 1)
    row, column = divmod(int(level.start), width)
    ax.add_patch(
        plt.Rectangle((column - 0.36, row - 0.36), 0.72, 0.72, fill=False, ec=START, lw=0.08 * points, zorder=3)
    )
    letter = {"fontsize": min(0.48 * points, 13), "weight": "bold", "color": START, "zorder": 3}
    ax.text(column, row, "S", ha="center", va="center", **letter)
    for i in level.present.nonzero()[0]:
        _draw_object(ax, level, int(i), width, points, annotate)
    if title is not None:
        ax.set_title(title, fontsize=8, color=INK)
    return ax


def render_grid(
    levels: GridLevel,
    environment: GridWorld,
    titles: Sequence[str] = (),
    columns: int = 4,
    size: float = 2.4,
    annotate: bool = True,
) -> Any:
    """Draw stacked levels in a grid of axes, `columns` per row of `size` inches each, and return the figure.

    Raises:
        ValueError: a number of titles that is neither zero nor the number of levels.
    """
    import matplotlib.pyplot as plt

    num_levels = levels.start.shape[0]
    if len(titles) not in (0, num_levels):
        raise ValueError(f"render_grid: need {num_levels} titles or none (got {len(titles)})")
    columns = min(columns, num_levels)
    rows = -(-num_levels // columns)
    shape = (columns * size, rows * size * (1.08 if titles else 1.0))
    figure, axes = plt.subplots(rows, columns, figsize=shape, squeeze=False, layout="constrained")
    for ax in axes.flat[num_levels:]:
        ax.set_axis_off()
    for i, ax in zip(range(num_levels), axes.flat, strict=False):
        level = jax.tree.map(lambda leaf, i=i: leaf[i], levels)
        render(level, environment, ax, titles[i] if titles else None, annotate)
    return figure


def draw_visits(ax: Any, visits: Float[np.ndarray, " C"] | Int[np.ndarray, " C"], environment: GridWorld) -> None:
    """Tint each cell by how often it was visited (counts or frequencies by cell), on axes made by `render`."""
    shares = np.asarray(visits, float).reshape(environment.height, environment.width)
    shares = np.ma.masked_equal(shares / max(shares.max(), 1e-9), 0.0)
    ax.imshow(np.sqrt(shares), cmap="YlOrBr", vmin=0, vmax=1.4, zorder=1.5, alpha=0.9)


def draw_policy(ax: Any, policy: Float[np.ndarray, "C A"], environment: GridWorld) -> None:
    """Draw the mean move of the policy in each cell as an arrow; a dot is a mean move of about zero.

    `policy` holds the action probabilities in each cell; of a tabular policy `[S, A]`, the rows of one set of existing
    objects, for instance `policy.reshape(-1, C, A)[-1]` with all of them. Cells with a row of zeros stay empty.
    """
    policy = np.asarray(policy, float)
    offsets = np.asarray(environment.moves.offsets * (2 if environment.moves.collect else 1), float)
    down, right = (policy @ offsets).T * 0.42
    row, column = np.divmod(np.arange(environment.num_cells), environment.width)
    shown = policy.sum(-1) > 0
    long = shown & (np.hypot(down, right) > 0.06)
    style = {"color": INK, "zorder": 3.5, "alpha": 0.75}
    arrows = column[long] - right[long], row[long] - down[long], 2 * right[long], 2 * down[long]
    ax.quiver(*arrows, angles="xy", scale_units="xy", scale=1, width=0.008, headwidth=4.5, headlength=5, **style)
    ax.scatter(column[shown & ~long], row[shown & ~long], s=4, **style)


def draw_path(ax: Any, cells: Int[np.ndarray, " T"], environment: GridWorld) -> None:
    """Draw a trajectory `[T]` of cells: thin and dark at its start, thick and light at its end."""
    import matplotlib.pyplot as plt
    from matplotlib.collections import LineCollection

    row, column = np.divmod(np.asarray(cells), environment.width)
    if len(row) < 2:
        return
    age = np.linspace(0, 1, len(row))
    # Shifted slightly with time, so that repeated visits stay visible.
    points = np.stack([column, row], -1) + 0.16 * (age - 0.5)[:, None]
    segments = np.stack([points[:-1], points[1:]], 1)
    colors = plt.get_cmap("plasma")(0.1 + 0.75 * age[:-1])
    ax.add_collection(LineCollection(list(segments), colors=colors, linewidths=1.2 + 1.6 * age[:-1], zorder=6))
    ax.scatter(*points[-1], s=28, color=[colors[-1]], edgecolor=INK, linewidth=0.8, zorder=7)


def _draw_floor(ax: Any, free: np.ndarray, rows: int, columns: int) -> float:
    """Draw walls and grid lines; returns the approximate side of a cell in points (1/72 inch)."""
    from matplotlib.colors import ListedColormap

    ax.imshow(free, cmap=ListedColormap([WALL, FLOOR]), vmin=0, vmax=1, zorder=1)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_xticks(np.arange(columns + 1) - 0.5, [])
    ax.set_yticks(np.arange(rows + 1) - 0.5, [])
    ax.grid(color=LINE, lw=0.6, zorder=2)
    ax.set_axisbelow(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_color(WALL)
        spine.set_linewidth(1.2)
    extent = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return 72 * min(extent.width / columns, extent.height / rows)


def _draw_object(ax: Any, level: GridLevel, i: int, width: int, points: float, annotate: bool) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.patches import Arc, Circle

    row, column = divmod(int(level.object_cell[i]), width)
    reward, p_terminate, p_respawn = (float(x[i]) for x in (level.reward, level.p_terminate, level.p_respawn))
    shade = 0.3 + 0.55 * min(abs(reward), 1.0)
    ax.add_patch(Circle((column, row), 0.37, fc=plt.get_cmap("Greens" if reward >= 0 else "Reds")(shade), zorder=4))
    if p_terminate > 0:
        # From the top clockwise; rows grow downwards, so the top is at -90 degrees.
        ring = {"angle": 0.0, "theta1": -90.0, "theta2": -90 + 360 * p_terminate}
        ax.add_patch(Arc((column, row), 0.88, 0.88, ec=INK, lw=0.08 * points, zorder=4.5, **ring))
    color = "w" if shade > 0.5 else INK
    dots = 0 if p_respawn <= 0 else int(np.clip(np.floor(np.log10(p_respawn) + 4.001), 1, 4))
    right = column + 0.12 * (np.arange(dots) - (dots - 1) / 2)
    ax.scatter(right, np.full(dots, row + 0.19), s=(0.085 * points) ** 2, color=color, lw=0, zorder=5)
    if annotate and points > 9:
        label = f"{reward:+.1f}".replace("-", "\N{MINUS SIGN}")
        size = min(0.3 * points, 10)
        ax.text(column, row - 0.04, label, ha="center", va="center", fontsize=size, color=color, zorder=5)
