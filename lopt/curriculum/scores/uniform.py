"""No preference."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Level, Metrics


@dataclass(frozen=True)
class Uniform:
    """Every level scores 0, so that `Replay` draws uniformly from its buffer (equal scores share a rank).

    Since a slot is only given up to a higher score, the buffer then keeps the first levels that filled it.
    For no replay at all, as LPG has it, take `DomainRandomisation`.
    """

    def init(self, key: Key, level: Level) -> tuple[()]:
        """Nothing to carry."""
        return ()

    def advance(self, key: Key, level: Level, state: Any, metrics: Metrics) -> Any:
        """Nothing to do."""
        return state

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """0."""
        return jnp.zeros((), jnp.float32)
