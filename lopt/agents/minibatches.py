"""Learning from a rollout several times over, in shuffled parts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from lopt.types import Key, Metrics, PyTree


@dataclass(frozen=True)
class MinibatchEpochs:
    """`num_epochs` passes over the transitions of a rollout, each in a new random order and `num_minibatches` parts.

    A minibatch is gathered when its turn comes: the shuffled rollout is never written to memory as a whole.

    Attributes:
        num_epochs: passes over the rollout.
        num_minibatches: parts, of equal size; it has to divide the number of transitions.

    Raises:
        ValueError: a number below one.
    """

    num_epochs: int = 4
    num_minibatches: int = 8

    def __post_init__(self) -> None:
        for name in ("num_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"MinibatchEpochs: {name} must be at least 1 (got {getattr(self, name)})")

    def __call__(
        self, key: Key, step: Callable[[Any, PyTree], tuple[Any, Metrics]], state: Any, batch: PyTree
    ) -> tuple[Any, Metrics]:
        """`state, metrics = step(state, minibatch)` for every minibatch, in one scan; the metrics are stacked.

        `batch` is `[T, B, ...]`, a minibatch `[1, T B / num_minibatches, ...]`.

        Raises:
            ValueError: the transitions cannot be split into parts of equal size.
        """
        length, width = jax.tree.leaves(batch)[0].shape[:2]
        size = length * width
        if size % self.num_minibatches:
            raise ValueError(
                f"MinibatchEpochs: num_minibatches must divide the {length} x {width} transitions of a rollout "
                f"(got {self.num_minibatches})"
            )
        flat = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), batch)
        order = jax.vmap(lambda key: permutation(key, size))(jax.random.split(key, self.num_epochs))
        order = order.reshape(self.num_epochs * self.num_minibatches, -1)

        def body(state, index):
            return step(state, jax.tree.map(lambda x: x[index][None], flat))

        return jax.lax.scan(body, state, order)


def permutation(key: Key, size: int) -> Int[Array, " size"]:
    """The numbers 0 ... size - 1 in random order: by one sort of words that hold random bits above the number.

    On CPU a sort of plain words takes a fifth of the time of an argsort, and `jax.random.permutation` needs two of
    those. Where random bits are equal the numbers stay in order: of 2^13, about one in sixty has such a neighbour.
    """
    below = jnp.uint32((1 << max(size - 1, 1).bit_length()) - 1)
    words = (jax.random.bits(key, (size,)) & ~below) | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(words) & below).astype(jnp.int32)
