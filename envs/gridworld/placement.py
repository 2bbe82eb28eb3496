"""Where a grid world's objects are: fixed by the level, or drawn anew at every reset and respawn."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.gridworld.level import GridLevel
from envs.gridworld.objects import Draws, pack, unpack


@dataclass(frozen=True)
class FixedPlacement:
    """Objects lie where the level says, for the whole lifetime; nothing to remember and nothing to draw."""

    def num_draws(self, num_objects: int) -> int:
        """How many uniform numbers `reset` and `respawn` each take: none."""
        return 0

    def reset(self, u: Draws, level: GridLevel) -> tuple[()]:
        """The memory at the start of an episode: nothing."""
        return ()

    def respawn(
        self,
        u: Draws,
        level: GridLevel,
        memory: tuple[()],
        agent: Int[Array, ""],
        kept: Int[Array, ""],
        back: Int[Array, ""],
    ) -> tuple[()]:
        """The memory after the objects `back` returned: nothing."""
        return ()

    def cells(self, level: GridLevel, memory: tuple[()]) -> Int[Array, " O"]:
        """Where each object is."""
        return level.object_cell


@dataclass(frozen=True)
class RandomPlacement:
    """Objects get a uniformly random place at every reset and at every respawn, and the state remembers it.

    A place is a free cell that holds neither the agent nor an object that exists; so never a wall, and never two
    objects on one cell. A level has more free cells than objects, so there is always room.

    Paper: arXiv 2007.08794, appendix A ("random grid worlds").
    Differs: EmptyJackson/groove also keeps respawning objects off the last places of absent ones, never uses cells
        0 and 1, and can put objects on walls.
    """

    def num_draws(self, num_objects: int) -> int:
        """How many uniform numbers `reset` and `respawn` each take: one per object."""
        return num_objects

    def reset(self, u: Draws, level: GridLevel) -> Int[Array, " O"]:
        """Places for all present objects, with the agent at the level's start."""
        nobody = jnp.zeros((), jnp.int32)
        return self.respawn(u, level, level.object_cell, level.start, nobody, pack(level.present))

    def respawn(
        self,
        u: Draws,
        level: GridLevel,
        memory: Int[Array, " O"],
        agent: Int[Array, ""],
        kept: Int[Array, ""],
        back: Int[Array, ""],
    ) -> Int[Array, " O"]:
        """New places for the objects `back`, one after the other, off the agent and off the objects `kept`.

        An object that must find a place draws the j-th free cell that is not taken, j uniform.
        """
        num_objects = memory.shape[-1]
        returns = unpack(back, num_objects)
        nowhere = level.free.shape[-1]

        def place(taken: Int[Array, " K"], draw: tuple) -> tuple[Int[Array, " K"], None]:
            i, u_i, returns_i = draw
            cell = jnp.where(returns_i, _free_cell(u_i, level, taken), taken[i + 1])
            return taken.at[i + 1].set(cell), None

        others = jnp.where(unpack(kept, num_objects), memory, nowhere)
        draws = (jnp.arange(num_objects, dtype=jnp.int32), jnp.stack(u), returns)
        taken, _ = jax.lax.scan(place, jnp.concatenate([agent[None], others]), draws)
        return jnp.where(returns, taken[1:], memory)

    def cells(self, level: GridLevel, memory: Int[Array, " O"]) -> Int[Array, " O"]:
        """Where each object is."""
        return memory


def _free_cell(u: Float[Array, ""], level: GridLevel, taken: Int[Array, " K"]) -> Int[Array, ""]:
    """The j-th of the free cells that are not `taken`, j = floor(u * how many there are).

    Its rank among all free cells is the least r with r = j + #{taken cells <= free_cells[r]}; starting from j,
    that is reached in at most as many rounds as cells are taken, without a pass over the grid.
    """
    room = level.num_free - jnp.sum(taken < level.free.shape[-1], dtype=jnp.int32)
    j = jnp.clip((u * room).astype(jnp.int32), 0, room - 1)

    def skip(_: Int[Array, ""], rank: Int[Array, ""]) -> Int[Array, ""]:
        return j + jnp.sum(taken <= level.free_cells[rank], dtype=jnp.int32)

    return level.free_cells[jax.lax.fori_loop(0, taken.shape[-1], skip, j)]
