"""Regret of the learned rule against a value that is known without training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Level, Metrics


@dataclass(frozen=True, kw_only=True)
class OracleRegret:
    """oracle(level) - V(learner after its life).

    Attributes:
        oracle: `(key, level) -> value`: the optimal policy's return ("optimal-policy regret") or a random policy's.
        evaluate: `(key, level, learner) -> value`, in the same unit; higher is better. The keys are independent.

    Paper: arXiv 2310.02782 (the baselines of its study of antagonists).
    """

    oracle: Callable[[Key, Level], Float[Array, ""]]
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]

    def init(self, key: Key, level: Level) -> tuple[()]:
        """Nothing to carry."""
        return ()

    def advance(self, key: Key, level: Level, state: Any, metrics: Metrics) -> Any:
        """Nothing to do."""
        return state

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """The difference; it is negative for a learner that beats the oracle."""
        key_oracle, key_learner = jax.random.split(key)
        value = self.oracle(key_oracle, level) - self.evaluate(key_learner, level, learner)
        return jnp.asarray(value, jnp.float32)
