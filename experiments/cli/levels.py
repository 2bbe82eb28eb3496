"""Level distributions of grid worlds by their names on the command line."""

from collections.abc import Callable
from functools import partial
from typing import Any

from envs.gridworld import All, KruskalMaze, Mazes, large, medium, rand_all, sets, small

LEVELS: dict[str, Callable[..., Any]] = {
    "all": All,
    "small": small,
    "medium": medium,
    "large": large,
    "rand_all": rand_all,
    "mazes": Mazes,
    "generated_mazes": partial(Mazes, maze=KruskalMaze(height=13, width=13)),
    **{f.__name__: f for f in (*sets.TABULAR_SETS, *sets.RANDOM_SETS)},
    **{f.__name__: f for f in (sets.groove_longer_horizon, sets.groove_rand_small, sets.groove_rand_small_sparse)},
}
"""Functions from the distribution of the number of updates (`num_updates=...`) to a distribution of levels."""
