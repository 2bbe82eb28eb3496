"""Regret of the learned rule relative to a value that is known without training, such as the optimal policy's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Level


@dataclass(frozen=True, kw_only=True)
class OracleRegret:
    """Regret = oracle(level) - V(learner at the end of its lifetime).

    Attributes:
        oracle: `(key, level) -> value`: the optimal policy's return ("optimal-policy regret") or a random policy's.
        evaluate: `(key, level, learner) -> value`, in the same unit, higher is better; its key is independent of the
            oracle's.

    Paper: arXiv 2310.02782 (baselines in its study of antagonists).
    """

    oracle: Callable[[Key, Level], Float[Array, ""]]
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]

    def init(self, key: Key, level: Level) -> tuple[()]:
        """The empty state `()`."""
        return ()

    def advance(self, key: Key, level: Level, state: Any, updates: Any) -> Any:
        """The unchanged state."""
        return state

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """The regret; it is negative for a learner that is better than the oracle."""
        key_oracle, key_learner = jax.random.split(key)
        value = self.oracle(key_oracle, level) - self.evaluate(key_learner, level, learner)
        return jnp.asarray(value, jnp.float32)
