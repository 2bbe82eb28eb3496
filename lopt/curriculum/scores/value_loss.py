"""Scores from the learner's own advantages: positive value loss and L1 value loss."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.curriculum.scores.window import window_mean
from lopt.types import Key, Level, Metrics


class ValueLossState(struct.PyTreeNode):
    """`value`: the last window's mean, -inf before the first; `updates`: how many the learner has been
    through."""

    value: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class PositiveValueLoss:
    """PVL = mean_t max(A_t, 0), A the GAE advantage; the mean over the last K updates of the life.

    Reads the metric "positive_value_loss" `[K]` of the lifetime's updates; updates past the end of the life
    do not count.

    Paper: arXiv 2110.02439 (positive value loss); arXiv 2310.02782 (as a baseline).
    """

    def init(self, key: Key, level: Level) -> ValueLossState:
        """Not measured yet."""
        return _unmeasured()

    def advance(self, key: Key, level: Level, state: ValueLossState, metrics: Metrics) -> ValueLossState:
        """Keep the mean of these K."""
        return _follow(level, state, metrics["positive_value_loss"])

    def score(self, key: Key, level: Level, learner: Any, state: ValueLossState) -> Float[Array, ""]:
        """The last mean."""
        return state.value


@dataclass(frozen=True)
class L1ValueLoss:
    """L1 = mean_t |A_t|, A the GAE advantage; the mean over the last K updates of the life.

    Reads the metric "l1_value_loss" `[K]` of the lifetime's updates; updates past the end of the life do
    not count.

    Paper: arXiv 2010.03934 (GAE magnitude); arXiv 2310.02782 (as a baseline).
    """

    def init(self, key: Key, level: Level) -> ValueLossState:
        """Not measured yet."""
        return _unmeasured()

    def advance(self, key: Key, level: Level, state: ValueLossState, metrics: Metrics) -> ValueLossState:
        """Keep the mean of these K."""
        return _follow(level, state, metrics["l1_value_loss"])

    def score(self, key: Key, level: Level, learner: Any, state: ValueLossState) -> Float[Array, ""]:
        """The last mean."""
        return state.value


def _unmeasured() -> ValueLossState:
    return ValueLossState(value=jnp.full((), -jnp.inf, jnp.float32), updates=jnp.zeros((), jnp.int32))


def _follow(level: Level, state: ValueLossState, values: Float[Array, " K"]) -> ValueLossState:
    value = window_mean(level, state.updates, values, state.value)
    return ValueLossState(value=value, updates=state.updates + values.shape[0])
