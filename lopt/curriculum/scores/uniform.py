"""The same score for every level."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Level


@dataclass(frozen=True)
class Uniform:
    """Score 0 for every level, so that `Replay` samples uniformly from its buffer (equal scores share a rank).

    As a level is only replaced by one with a higher score, the buffer then keeps the first levels that filled it. For
    training without replay, as in LPG, use `DomainRandomisation`.
    """

    def init(self, key: Key, level: Level) -> tuple[()]:
        """The empty state `()`."""
        return ()

    def advance(self, key: Key, level: Level, state: Any, updates: Any) -> Any:
        """The unchanged state."""
        return state

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """The score 0."""
        return jnp.zeros((), jnp.float32)
