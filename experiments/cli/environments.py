"""Environments by their names on the command line."""

from collections.abc import Callable
from typing import Any

from envs.brax import BRAX_TASKS, brax_env
from envs.gymnax import gymnax_env, gymnax_names
from envs.names import unknown_name
from envs.references import REFERENCES, Reference
from experiments.cli.levels import LEVELS
from lopt.types import Key, Level

BRAX, GRID = "brax/", "grid/"

SHORT_NAMES = {
    "cartpole": "CartPole-v1",
    "acrobot": "Acrobot-v1",
    "catch": "Catch-bsuite",
    "asterix": "Asterix-MinAtar",
    "breakout": "Breakout-MinAtar",
    "freeway": "Freeway-MinAtar",
    "spaceinvaders": "SpaceInvaders-MinAtar",
}
"""Short names of environments, where an environment is one of several kinds of tasks."""


def is_environment(name: str) -> bool:
    """Whether a name is that of an environment, or a short name of one."""
    return name in SHORT_NAMES or name.startswith((BRAX, GRID)) or name in gymnax_names()


def full_name(name: str) -> str:
    """The name of an environment for a short name; other names are returned unchanged."""
    return SHORT_NAMES.get(name, name)


def environment(name: str) -> tuple[Any, Callable[[Key], Level], int]:
    """An environment, the distribution of its levels, and the bound on the length of an episode (steps).

    Names are those of gymnax, `brax/<task>` and `grid/<level distribution>`.

    Raises:
        ValueError: an unknown name (near matches are listed), or a grid world with tabular observations.
        ImportError: a Brax task, and Brax is not installed.
    """
    if name.startswith(BRAX):
        env: Any = brax_env(name.removeprefix(BRAX), backend="positional")
        return env, env, env.max_steps
    if name.startswith(GRID):
        return _grid(name)
    if name not in gymnax_names():
        grids = [GRID + grid for grid in LEVELS if grid.startswith("rand")]
        raise unknown_name("environment", name, [*gymnax_names(), *(BRAX + task for task in BRAX_TASKS), *grids])
    env = gymnax_env(name)
    return env, env, env.max_steps


def reference(name: str) -> Reference | None:
    """Published and random returns of an environment; None where there are none."""
    return REFERENCES.get(name.removeprefix(BRAX))


def _grid(name: str) -> tuple[Any, Callable[[Key], Level], int]:
    grids = {GRID + grid: levels for grid, levels in LEVELS.items() if grid.startswith("rand")}
    if name not in grids:
        raise unknown_name("grid world for networks", name, grids)
    levels = grids[name]()
    return levels.environment, levels, levels.max_steps.high
