"""Action sets of grid worlds: the neighbour of each action, and whether it moves or collects."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moves:
    """An action set: action i points at the neighbour `offsets[i]` = (rows down, columns right).

    Without `collect`, every action is a move, and the agent collects the object on its new cell.
    With `collect` there are twice as many actions: the first half moves without collecting, the second half collects
    the object on the neighbouring cell without moving.

    Raises:
        ValueError: no offsets, a repeated offset, or one that points further than a neighbour.
    """

    offsets: tuple[tuple[int, int], ...]
    collect: bool = False

    def __post_init__(self) -> None:
        if not self.offsets or len(set(self.offsets)) != len(self.offsets):
            raise ValueError(f"Moves: offsets must be distinct and not empty (got {self.offsets})")
        if any(max(abs(rows), abs(columns)) > 1 for rows, columns in self.offsets):
            raise ValueError(f"Moves: offsets must be in {{-1, 0, 1}} (got {self.offsets})")

    @property
    def num_actions(self) -> int:
        """A, the number of discrete actions."""
        return len(self.offsets) * (2 if self.collect else 1)

    def targets(self, height: int, width: int) -> np.ndarray:
        """The cell that each action points at, height * width if it is off the grid: `[height * width, A]` int32."""
        row, column = np.divmod(np.arange(height * width), width)
        offsets = np.asarray(self.offsets * (2 if self.collect else 1))
        to_row, to_column = row[:, None] + offsets[:, 0], column[:, None] + offsets[:, 1]
        inside = (to_row >= 0) & (to_row < height) & (to_column >= 0) & (to_column < width)
        return np.where(inside, to_row * width + to_column, height * width).astype(np.int32)


FOUR_MOVES = Moves(((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)))
"""Up, down, left, right, stay: 5 actions."""
NINE_MOVES = Moves(((0, 0), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)))
"""Stay, then the eight neighbours clockwise from the one above: 9 actions."""
FOUR_MOVES_COLLECT = Moves(FOUR_MOVES.offsets, collect=True)
"""`FOUR_MOVES`, then collecting in the same five directions: 10 actions."""
NINE_MOVES_COLLECT = Moves(NINE_MOVES.offsets, collect=True)
"""`NINE_MOVES`, then collecting in the same nine directions: 18 actions."""
