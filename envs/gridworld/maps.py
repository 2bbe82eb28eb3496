"""Walls of grid worlds as text."""

import numpy as np
from jaxtyping import Bool

WALL, FLOOR = "#", "."


def parse_map(rows: tuple[str, ...]) -> Bool[np.ndarray, "height width"]:
    """The free cells of a map: one string per row, `#` a wall and `.` a free cell.

    Raises:
        ValueError: rows of unequal length, other characters, or no free cell.
    """
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ValueError(f"parse_map: rows must have one length >= 1 (got lengths {[len(row) for row in rows]})")
    if not set("".join(rows)) <= {WALL, FLOOR}:
        raise ValueError(f"parse_map: only {WALL!r} and {FLOOR!r} may occur (got {sorted(set(''.join(rows)))})")
    free = np.array([[char == FLOOR for char in row] for row in rows])
    if not free.any():
        raise ValueError("parse_map: the map has no free cell")
    return free


def open_map(height: int, width: int) -> tuple[str, ...]:
    """A map without walls."""
    return (FLOOR * width,) * height
