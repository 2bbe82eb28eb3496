"""Placement of a grid world's objects: fixed by the level, or random at every reset and respawn."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.gridworld.level import GridLevel
from envs.gridworld.objects import Draws, pack, unpack


@dataclass(frozen=True)
class FixedPlacement:
    """Every object stays on the level's `object_cell`; there is no state and no randomness."""

    def num_draws(self, num_objects: int) -> int:
        """Number of uniform random numbers that `reset` and `respawn` each need: none."""
        return 0

    def reset(self, u: Draws, level: GridLevel) -> tuple[()]:
        """The placement's state at the start of an episode: `()`."""
        return ()

    def respawn(
        self,
        u: Draws,
        level: GridLevel,
        places: tuple[()],
        agent: Int[Array, ""],
        kept: Int[Array, ""],
        respawned: Int[Array, ""],
    ) -> tuple[()]:
        """The placement's state after the objects `respawned`: `()`."""
        return ()

    def cells(self, level: GridLevel, places: tuple[()]) -> Int[Array, " O"]:
        """The cell of each object."""
        return level.object_cell


@dataclass(frozen=True)
class RandomPlacement:
    """Every object gets a uniformly random cell at every reset and every respawn; the state holds the cells.

    The cell is free and holds neither the agent nor an existing object. A level has more free cells than objects, so
    there always is one.

    Paper: arXiv 2007.08794, appendix A ("random grid worlds").
    Differs: EmptyJackson/groove also keeps respawning objects off the former cells of absent ones, never uses cells
        0 and 1, and can put objects on walls.
    """

    def num_draws(self, num_objects: int) -> int:
        """Number of uniform random numbers that `reset` and `respawn` each need: one per object."""
        return num_objects

    def reset(self, u: Draws, level: GridLevel) -> Int[Array, " O"]:
        """Random cells for all present objects, with the agent at the level's start."""
        none_kept = jnp.zeros((), jnp.int32)
        return self.respawn(u, level, level.object_cell, level.start, none_kept, pack(level.present))

    def respawn(
        self,
        u: Draws,
        level: GridLevel,
        places: Int[Array, " O"],
        agent: Int[Array, ""],
        kept: Int[Array, ""],
        respawned: Int[Array, ""],
    ) -> Int[Array, " O"]:
        """New cells for the objects `respawned`, one after the other, apart from the agent and the objects `kept`.

        Each gets the j-th free cell that is not taken, with j uniform.
        """
        num_objects = places.shape[-1]
        moves = unpack(respawned, num_objects)
        no_cell = level.free.shape[-1]

        def place(taken: Int[Array, " K"], draw: tuple) -> tuple[Int[Array, " K"], None]:
            i, u_i, moves_i = draw
            cell = jnp.where(moves_i, _free_cell(u_i, level, taken), taken[i + 1])
            return taken.at[i + 1].set(cell), None

        others = jnp.where(unpack(kept, num_objects), places, no_cell)
        draws = (jnp.arange(num_objects, dtype=jnp.int32), jnp.stack(u), moves)
        taken, _ = jax.lax.scan(place, jnp.concatenate([agent[None], others]), draws)
        return jnp.where(moves, taken[1:], places)

    def cells(self, level: GridLevel, places: Int[Array, " O"]) -> Int[Array, " O"]:
        """The cell of each object."""
        return places


def _free_cell(u: Float[Array, ""], level: GridLevel, taken: Int[Array, " K"]) -> Int[Array, ""]:
    """The j-th free cell that is not `taken`, j = floor(u * number of such cells).

    Its rank among all free cells is the least r with r = j + #{taken cells <= free_cells[r]}; starting from j,
    the iteration converges in at most as many rounds as cells are taken, without a pass over the grid.
    """
    room = level.num_free - jnp.sum(taken < level.free.shape[-1], dtype=jnp.int32)
    j = jnp.clip((u * room).astype(jnp.int32), 0, room - 1)

    def skip(_: Int[Array, ""], rank: Int[Array, ""]) -> Int[Array, ""]:
        return j + jnp.sum(taken <= level.free_cells[rank], dtype=jnp.int32)

    return level.free_cells[jax.lax.fori_loop(0, taken.shape[-1], skip, j)]
