"""Scores from the learner's advantages: positive value loss and L1 value loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.curriculum.scores.window import window_mean
from lopt.types import Key, Level, ValueScores


class ValueLossState(struct.PyTreeNode):
    """`value`: mean of the last window, -inf before the first; `updates`: number of updates so far."""

    value: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class PositiveValueLoss:
    """PVL = mean_t max(A_t, 0) over the last K updates of the lifetime, with A_t the GAE advantage.

    It reads `ValueScores.positive_advantage` `[K]` of the lifetime's updates; updates after the end of the lifetime do
    not count.

    Paper: arXiv 2110.02439 (positive value loss); arXiv 2310.02782 (as a baseline).
    """

    requires: ClassVar[type] = ValueScores

    def init(self, key: Key, level: Level) -> ValueLossState:
        """The state before the first update: the value minus infinity, "not measured"."""
        return _initial()

    def advance(self, key: Key, level: Level, state: ValueLossState, updates: ValueScores) -> ValueLossState:
        """Replace the mean by that of K more updates."""
        return _advance(level, state, updates.positive_advantage)

    def score(self, key: Key, level: Level, learner: Any, state: ValueLossState) -> Float[Array, ""]:
        """The mean of the last window."""
        return state.value


@dataclass(frozen=True)
class L1ValueLoss:
    """L1 = mean_t |A_t| over the last K updates of the lifetime, with A_t the GAE advantage.

    It reads `ValueScores.absolute_advantage` `[K]` of the lifetime's updates; updates after the end of the lifetime do
    not count.

    Paper: arXiv 2010.03934 (GAE magnitude); arXiv 2310.02782 (as a baseline).
    """

    requires: ClassVar[type] = ValueScores

    def init(self, key: Key, level: Level) -> ValueLossState:
        """The state before the first update: the value minus infinity, "not measured"."""
        return _initial()

    def advance(self, key: Key, level: Level, state: ValueLossState, updates: ValueScores) -> ValueLossState:
        """Replace the mean by that of K more updates."""
        return _advance(level, state, updates.absolute_advantage)

    def score(self, key: Key, level: Level, learner: Any, state: ValueLossState) -> Float[Array, ""]:
        """The mean of the last window."""
        return state.value


def _initial() -> ValueLossState:
    return ValueLossState(value=jnp.full((), -jnp.inf, jnp.float32), updates=jnp.zeros((), jnp.int32))


def _advance(level: Level, state: ValueLossState, values: Float[Array, " K"]) -> ValueLossState:
    value = window_mean(level, state.updates, values, state.value)
    return ValueLossState(value=value, updates=state.updates + values.shape[0])
