"""Observations of a grid world: the index of the state, or planes."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int

from envs.gridworld.objects import unpack
from lopt.types import PlaneObs, TabularObs

TIME_SCALE = 0.001
"""Factor from the number of steps in the episode to the time feature."""


@dataclass(frozen=True)
class TabularView:
    """The state as one index, `cell + C * sum_i 2^i [object i exists]`, in [0, C * 2^O).

    It is the full state under `FixedPlacement`; under `RandomPlacement` it lacks the cells of the objects.
    """

    def __call__(
        self,
        height: int,
        width: int,
        cell: Int[Array, ""],
        exists: Int[Array, ""],
        object_cell: Int[Array, " O"],
        time: Int[Array, ""],
    ) -> TabularObs:
        """The observation: the index, and the scaled time."""
        return TabularObs(index=cell + height * width * exists, time=TIME_SCALE * time.astype(jnp.float32))


@dataclass(frozen=True)
class PlaneView:
    """Planes `[height, width, O + 1]` of zeros and ones: the agent's, then one for each object that exists."""

    def __call__(
        self,
        height: int,
        width: int,
        cell: Int[Array, ""],
        exists: Int[Array, ""],
        object_cell: Int[Array, " O"],
        time: Int[Array, ""],
    ) -> PlaneObs:
        """The observation: the planes, and the scaled time."""
        # A scatter: comparing cells with an index would fuse the whole step into every element of the planes.
        num_planes = object_cell.shape[-1] + 1
        visible = jnp.where(unpack(exists, num_planes - 1), object_cell, height * width)
        row, column = jnp.divmod(jnp.concatenate([cell[None], visible]), width)
        planes = jnp.zeros((height, width, num_planes), jnp.float32)
        planes = planes.at[row, column, jnp.arange(num_planes)].set(1.0, mode="drop", unique_indices=True)
        return PlaneObs(planes=planes, time=TIME_SCALE * time.astype(jnp.float32))
