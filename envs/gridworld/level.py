"""A grid-world level as data: walls, objects and the time limit."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


class GridLevel(struct.PyTreeNode):
    """The parameters of a grid-world level, padded to the static sizes of its `GridWorld`.

    A cell is `row * width + column` with the environment's width. C = height * width cells and O objects are static;
    a smaller level is one whose remaining cells are not free, and one with fewer objects marks them not present.

    Attributes:
        free: cells the agent can stand on; walls, borders and padding are all just "not free".
        free_cells: the free cells in ascending order, then the others; for random placement.
        num_free: number of free cells.
        start: the agent's cell at the start of every episode.
        object_cell: the cell of each object (unused under random placement); `start` for an absent one.
        present: which of the O objects the level has.
        reward: for collecting an object.
        p_terminate: probability that collecting it ends the episode.
        p_respawn: probability per step that a collected object respawns.
        max_steps: time limit of an episode, in steps.
    """

    free: Bool[Array, "*n C"]
    free_cells: Int[Array, "*n C"]
    num_free: Int[Array, "*n"]
    start: Int[Array, "*n"]
    object_cell: Int[Array, "*n O"]
    present: Bool[Array, "*n O"]
    reward: Float[Array, "*n O"]
    p_terminate: Float[Array, "*n O"]
    p_respawn: Float[Array, "*n O"]
    max_steps: Int[Array, "*n"]


def make_level(
    free: Bool[Array, " C"],
    start: Int[Array, ""],
    object_cell: Int[Array, " O"],
    present: Bool[Array, " O"],
    reward: Float[Array, " O"],
    p_terminate: Float[Array, " O"],
    p_respawn: Float[Array, " O"],
    max_steps: Int[Array, ""],
) -> GridLevel:
    """A `GridLevel` from its independent fields; absent objects get the start cell, reward 0 and probabilities 0."""
    start = jnp.asarray(start, jnp.int32)
    num_free = jnp.sum(free, dtype=jnp.int32)
    rank = jnp.where(free, jnp.cumsum(free), num_free + jnp.cumsum(~free)) - 1
    return GridLevel(
        free=free,
        free_cells=jnp.zeros(free.shape, jnp.int32).at[rank].set(jnp.arange(free.size, dtype=jnp.int32)),
        num_free=num_free,
        start=start,
        object_cell=jnp.where(present, object_cell, start).astype(jnp.int32),
        present=present,
        reward=jnp.where(present, reward, 0).astype(jnp.float32),
        p_terminate=jnp.where(present, p_terminate, 0).astype(jnp.float32),
        p_respawn=jnp.where(present, p_respawn, 0).astype(jnp.float32),
        max_steps=jnp.asarray(max_steps, jnp.int32),
    )


def scatter_objects(
    u: Float[Array, " C"], free: Bool[Array, " C"], num_objects: int, wanted: Int[Array, ""]
) -> tuple[Int[Array, ""], Int[Array, " O"], Bool[Array, " O"]]:
    """`(start, object_cell, present)`: the start and O = `num_objects` objects on distinct random free cells.

    The first `wanted` objects are present, but at most as many as there are free cells besides the start: a level with
    too few free cells has fewer objects, not objects on walls. `u` are uniform random numbers.
    """
    cells = jax.lax.top_k(jnp.where(free, u, -1.0), num_objects + 1)[1]
    room = jnp.minimum(wanted, jnp.sum(free, dtype=jnp.int32) - 1)
    return cells[0], cells[1:], jnp.arange(num_objects, dtype=jnp.int32) < room
