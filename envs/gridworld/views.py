"""What an agent sees of a grid world: the index of the state, or planes."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int

from envs.gridworld.objects import unpack
from lopt.types import PlaneObs, TabularObs

TIME_SCALE = 0.001
"""The time feature is the number of steps in the episode times this."""


@dataclass(frozen=True)
class TabularView:
    """The state as one index, `cell + C * sum_i 2^i [object i exists]`, in [0, C * 2^O).

    It is the whole state where objects have fixed places; with random placement it hides where they are.
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
        """The observation."""
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
        """The observation."""
        visible = jnp.where(unpack(exists, object_cell.shape[-1]), object_cell, height * width)
        cells = jnp.concatenate([cell[None], visible])
        planes = jnp.arange(height * width, dtype=jnp.int32)[:, None] == cells[None, :]
        return PlaneObs(
            planes=planes.astype(jnp.float32).reshape(height, width, -1),
            time=TIME_SCALE * time.astype(jnp.float32),
        )
