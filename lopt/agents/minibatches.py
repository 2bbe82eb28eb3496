"""Learning from a rollout several times over, in shuffled parts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

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
        # random 32-bit numbers in place of `jax.random.permutation`, which sorts twice: a tie shifts two transitions
        numbers = jax.vmap(lambda key: jax.random.bits(key, (size,)))(jax.random.split(key, self.num_epochs))
        order = numbers.argsort(-1).reshape(self.num_epochs * self.num_minibatches, -1)

        def body(state, index):
            return step(state, jax.tree.map(lambda x: x[index][None], flat))

        return jax.lax.scan(body, state, order)
