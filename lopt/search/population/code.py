"""Programs as numbers, so that one compiled computation runs any of them."""

from dataclasses import dataclass

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.types import Params

WIDE, NARROW = 2, 1
"""Rows of a learner's weights and gradient, and of the learning rate, before extras and constants."""


class Code(struct.PyTreeNode):
    """A straight program over the rows of a file, each statement with a row of its own (see `Layout`).

    Attributes:
        operations: index of every statement's operation.
        operands: rows that it reads; zero where it has fewer than three.
        length: statements that count; what follows is never run.
        constants: numbers of the program, in the order in which they stand there.
        outputs: rows of the update and of the new extra variables.
    """

    operations: Int[Array | np.ndarray, "*n M"]
    operands: Int[Array | np.ndarray, "*n M 3"]
    length: Int[Array | np.ndarray | np.int32, "*n"]
    constants: Float[Array | np.ndarray, "*n C"]
    outputs: Int[Array | np.ndarray, "*n E1"]


@dataclass(frozen=True)
class Layout:
    """Where values lie: a file of rows, each as long as all parameters of a learner together.

    Rows are, in this order: w, g, the extra variables, lr, the constants, and one per statement. A tree shaped like w
    fills its row; per-leaf scalars, and a scalar repeated for every leaf, fill the row's beginning.

    Attributes:
        sizes: elements of every leaf of w, in the order of `jax.tree.leaves`.
        extras: number of extra variables.
        capacity: most statements, and most constants, of a program.

    Raises:
        ValueError: no leaves, an empty leaf, negative `extras`, or no capacity.
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
        """Length of a row: the number of parameters."""
        return sum(self.sizes)

    @property
    def leaves(self) -> int:
        """Number of leaves of w."""
        return len(self.sizes)

    @property
    def learning_rate(self) -> int:
        """Row of lr; the constants follow it."""
        return WIDE + self.extras

    @property
    def first_statement(self) -> int:
        """Row of the first statement's value."""
        return self.learning_rate + NARROW + self.capacity

    @property
    def rows(self) -> int:
        """Rows of a file."""
        return self.first_statement + self.capacity

    @property
    def leaf_of(self) -> np.ndarray:
        """The leaf of every element, `[width]`."""
        return np.repeat(np.arange(self.leaves), self.sizes)


def layout_of(params: Params, extras: int, capacity: int = 32) -> Layout:
    """The layout of learners with parameters like these."""
    return Layout(tuple(int(x.size) for x in jax.tree.leaves(params)), extras, capacity)
