"""Levels of a small grid world, padded to a larger one."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from envs.gridworld.grid import GridWorld
from envs.gridworld.level import GridLevel, make_level
from lopt.types import Key, Level


@dataclass(frozen=True)
class Padded:
    """A distribution of grid-world levels padded to a larger environment, for use in a `Mixture`.

    The level sits in the upper left corner; cells and objects beyond its own are not free and not present.

    Example:
        env = GridWorld(height=13, width=13, num_objects=7, moves=NINE_MOVES)
        dist = Mixture(tuple(Padded(make(), env) for make in TABULAR_SETS))

    Attributes:
        part: the distribution.
        environment: the larger environment.

    Raises:
        ValueError: an environment that is smaller, or that has other moves, placement or view.
    """

    part: Any
    environment: GridWorld

    def __post_init__(self) -> None:
        inner, outer = self.part.environment, self.environment
        for name in ("height", "width", "num_objects"):
            if getattr(inner, name) > getattr(outer, name):
                raise ValueError(
                    f"Padded: the environment's {name} must be >= {getattr(inner, name)} (got {getattr(outer, name)})"
                )
        for name in ("moves", "placement", "view"):
            if getattr(inner, name) != getattr(outer, name):
                raise ValueError(
                    f"Padded: {name} must be the levels' {getattr(inner, name)} (got {getattr(outer, name)})"
                )

    def __call__(self, key: Key) -> Level:
        """Draw a level of `part`, padded."""
        level = self.part(key)
        return level.replace(params=pad_level(level.params, self.part.environment, self.environment))


def pad_level(level: GridLevel, inner: GridWorld, outer: GridWorld) -> GridLevel:
    """The same level with the sizes of `outer` instead of `inner`."""
    more_objects = (0, outer.num_objects - inner.num_objects)
    free = level.free.reshape(inner.height, inner.width)
    free = jnp.pad(free, ((0, outer.height - inner.height), (0, outer.width - inner.width)))

    def renumber(cell: Int[Array, "*n"]) -> Int[Array, "*n"]:
        return cell // inner.width * outer.width + cell % inner.width

    return make_level(
        free=free.reshape(-1),
        start=renumber(level.start),
        object_cell=jnp.pad(renumber(level.object_cell), more_objects),
        present=jnp.pad(level.present, more_objects),
        reward=jnp.pad(level.reward, more_objects),
        p_terminate=jnp.pad(level.p_terminate, more_objects),
        p_respawn=jnp.pad(level.p_respawn, more_objects),
        max_steps=level.max_steps,
    )
