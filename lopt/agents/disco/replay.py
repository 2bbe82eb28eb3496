"""A first-in-first-out buffer of trajectories, from which an agent's updates sample."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int

from lopt.types import Key, PyTree


class ReplayState(struct.PyTreeNode):
    """Stored trajectories, leaves `[C, T, ...]`, and the number of trajectories that were ever added."""

    stored: Any
    added: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class TrajectoryReplay:
    """Keeps the last C trajectories; every update gets a batch of them, drawn uniformly with replacement.

    Attributes:
        capacity: C, trajectories.
        batch_size: trajectories per update. Before so many are stored the agent makes no update.

    Raises:
        ValueError: sizes below one, or a batch that is larger than the buffer.
    """

    capacity: int = 1024
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.capacity:
            raise ValueError(
                "TrajectoryReplay: expected 1 <= batch_size <= capacity "
                f"(got batch_size {self.batch_size}, capacity {self.capacity})"
            )

    def init(self, batch: PyTree) -> ReplayState:
        """The empty buffer for trajectories like those of a batch `[T, B, ...]`, arrays or their shapes."""

        def empty(x: Any) -> Array:
            return jnp.zeros((self.capacity, x.shape[0], *x.shape[2:]), x.dtype)

        return ReplayState(stored=jax.tree.map(empty, batch), added=jnp.zeros((), jnp.int32))

    def add(self, state: ReplayState, batch: PyTree) -> ReplayState:
        """The buffer with the B <= C trajectories of a batch `[T, B, ...]` in the places of the oldest ones.

        Raises:
            ValueError: more trajectories than fit.
        """
        number = jax.tree.leaves(batch)[0].shape[1]
        if number > self.capacity:
            raise ValueError(f"TrajectoryReplay: capacity must be at least the {number} added (got {self.capacity})")
        slots = (state.added + jnp.arange(number)) % self.capacity
        stored = jax.tree.map(lambda old, new: old.at[slots].set(jnp.moveaxis(new, 1, 0)), state.stored, batch)
        return ReplayState(stored=stored, added=state.added + number)

    def ready(self, state: ReplayState) -> Bool[Array, ""]:
        """Whether enough trajectories are stored for an update."""
        return state.added >= self.batch_size

    def sample(self, key: Key, state: ReplayState) -> PyTree:
        """A batch `[T, batch_size, ...]` of the stored trajectories; of zeros where none is stored."""
        size = jnp.clip(state.added, 1, self.capacity)
        chosen = jax.random.randint(key, (self.batch_size,), 0, size)
        return jax.tree.map(lambda x: jnp.moveaxis(x[chosen], 0, 1), state.stored)
