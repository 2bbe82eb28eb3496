"""Programs as integer arrays, so that one compiled interpreter runs all of them."""

from dataclasses import dataclass

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.types import Params

NUM_INPUTS, NUM_RATES = 2, 1
"""Number of rows of w and g, and of lr."""


class Code(struct.PyTreeNode):
    """An encoded program over a register file, in which each statement writes its own row (see `Layout`).

    Axes: n programs (optional), M = capacity statements, C = capacity constants, E1 = 1 + number of extra variables.

    Attributes:
        operations: index of each statement's operation in `operations.OPERATIONS`.
        operands: rows that each statement reads; zero beyond its arity.
        length: number of statements; later entries are not executed.
        constants: constants of the program, in the order of its text.
        outputs: rows of the update and of the new extra variables.
    """

    operations: Int[Array | np.ndarray, "*n M"]
    operands: Int[Array | np.ndarray, "*n M 3"]
    length: Int[Array | np.ndarray | np.int32, "*n"]
    constants: Float[Array | np.ndarray, "*n C"]
    outputs: Int[Array | np.ndarray, "*n E1"]


@dataclass(frozen=True)
class Layout:
    """Layout of the register file: `rows` rows of P numbers, P the number of a learner's parameters.

    The rows are, in this order: w, g, the extra variables, lr, the constants, and one row per statement. A tree fills
    its row. Per-leaf scalars, and a scalar repeated for each leaf, fill the first `leaves` entries.

    Attributes:
        sizes: number of elements of each leaf of w, in the order of `jax.tree.leaves`.
        extras: number of extra variables.
        capacity: maximum number of statements, and of constants, of a program.

    Raises:
        ValueError: no leaves, an empty leaf, negative `extras`, or `capacity` below one.
    """

    sizes: tuple[int, ...]
    extras: int
    capacity: int = 32

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"Layout: expected leaves of at least one element (got sizes {self.sizes})")
        if self.extras < 0 or self.capacity < 1:
            raise ValueError(f"Layout: expected extras >= 0 and capacity >= 1 (got {self.extras} and {self.capacity})")

    @property
    def width(self) -> int:
        """P, the length of a row: the number of parameters."""
        return sum(self.sizes)

    @property
    def leaves(self) -> int:
        """Number of leaves of w."""
        return len(self.sizes)

    @property
    def learning_rate(self) -> int:
        """Row of lr; the rows of the constants follow it."""
        return NUM_INPUTS + self.extras

    @property
    def first_statement(self) -> int:
        """Row of the first statement's value."""
        return self.learning_rate + NUM_RATES + self.capacity

    @property
    def rows(self) -> int:
        """Number of rows of the register file."""
        return self.first_statement + self.capacity

    @property
    def leaf_of(self) -> np.ndarray:
        """Index of the leaf of each element, `[P]`."""
        return np.repeat(np.arange(self.leaves), self.sizes)


def layout_of(params: Params, extras: int, capacity: int = 32) -> Layout:
    """The layout for learners with parameters of these shapes; see `Layout` for `extras` and `capacity`."""
    return Layout(tuple(int(x.size) for x in jax.tree.leaves(params)), extras, capacity)
