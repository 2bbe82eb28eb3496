"""Random perfect mazes by Kruskal's algorithm, for jit and vmap."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from lopt.types import Key


@dataclass(frozen=True, kw_only=True)
class KruskalMaze:
    """A random maze: rooms at even rows and columns, with passages along a random spanning tree.

    The walls between neighbouring rooms are visited in random order; one is opened if its rooms are not connected yet.
    Any two free cells are then joined by exactly one path. Each remaining wall is opened too with probability `loops`.

    Example:
        free = KruskalMaze(13, 13)(key).reshape(13, 13)

    Attributes:
        height: rows, odd.
        width: columns, odd.
        loops: probability that a wall outside the spanning tree is opened, which adds a loop.

    Raises:
        ValueError: even sizes, fewer than two rooms, or a probability outside [0, 1].
    """

    height: int
    width: int
    loops: float = 0.0

    def __post_init__(self) -> None:
        if self.height % 2 == 0 or self.width % 2 == 0 or self.height * self.width < 3:
            raise ValueError(
                f"KruskalMaze: height and width must be odd, not both 1 (got {self.height} x {self.width})"
            )
        if not 0 <= self.loops <= 1:
            raise ValueError(f"KruskalMaze: loops must be in [0, 1] (got {self.loops})")

    def __call__(self, key: Key) -> Bool[Array, " C"]:
        """Draw a maze: which cells are free."""
        cells, rooms, num_rooms = _walls(self.height, self.width)
        rank, u_loop = jax.random.uniform(key, (2, len(cells)))
        order = jnp.argsort(rank).astype(jnp.int32)

        def visit(component: Int[Array, " R"], wall: Int[Array, ""]) -> tuple[Int[Array, " R"], Bool[Array, ""]]:
            a, b = component[jnp.asarray(rooms)[wall]]
            return jnp.where(component == b, a, component), a != b

        _, joins = jax.lax.scan(visit, jnp.arange(num_rooms, dtype=jnp.int32), order)
        row, column = np.divmod(np.arange(self.height * self.width), self.width)
        is_room = jnp.asarray((row % 2 == 0) & (column % 2 == 0))
        return is_room.at[jnp.asarray(cells)[order]].set(joins | (u_loop < self.loops))


def _walls(height: int, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """`(cells [W], rooms [W, 2], number of rooms)`: the walls that can be opened, and the two rooms beside each."""
    room = np.arange((height + 1) // 2 * ((width + 1) // 2)).reshape((height + 1) // 2, (width + 1) // 2)
    cell = np.arange(height * width).reshape(height, width)
    across = np.stack([room[:, :-1], room[:, 1:]], -1).reshape(-1, 2)
    down = np.stack([room[:-1], room[1:]], -1).reshape(-1, 2)
    cells = np.concatenate([cell[::2, 1::2].reshape(-1), cell[1::2, ::2].reshape(-1)])
    return cells.astype(np.int32), np.concatenate([across, down]).astype(np.int32), room.size
