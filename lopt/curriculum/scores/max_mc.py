"""Maximum Monte Carlo regret: the highest return of a lifetime minus the learner's value estimate."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.curriculum.scores.window import window_mean, within_lifetime
from lopt.types import Key, Level, ValueScores


class MaxMCState(struct.PyTreeNode):
    """`best`: highest return so far, -inf before one; `value`: mean V of the last window; `updates`: number so far."""

    best: Float[Array, "*n"]
    value: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class MaxMC:
    """MaxMC = mean_t (R_max - V(s_t)), with R_max over the whole lifetime and V over its last K updates.

    It reads `best_return` (highest return of an episode that ended in the update's rollout, -inf if none did) and
    `value` `[K]` of `ValueScores`; updates after the end of the lifetime do not count. The maximum starts at minus
    infinity, so that levels with negative returns alone are ordered, too; a lifetime in which no episode ended has the
    score minus infinity, which means "not measured".

    Paper: arXiv 2110.02439 (maximum Monte Carlo).

    Differs: R_max is over this lifetime, not over all lifetimes on the level; other codes start it at 0.
    """

    requires: ClassVar[type] = ValueScores

    def init(self, key: Key, level: Level) -> MaxMCState:
        """The state before the first update."""
        return MaxMCState(
            best=jnp.full((), -jnp.inf, jnp.float32),
            value=jnp.zeros((), jnp.float32),
            updates=jnp.zeros((), jnp.int32),
        )

    def advance(self, key: Key, level: Level, state: MaxMCState, updates: ValueScores) -> MaxMCState:
        """Update R_max and replace the mean of V by that of K more updates."""
        returns, values = updates.best_return, updates.value
        mask = within_lifetime(level, state.updates, returns.shape[0])
        best = jnp.where(mask, returns, -jnp.inf).max().astype(jnp.float32)
        return MaxMCState(
            best=jnp.maximum(state.best, best),
            value=window_mean(level, state.updates, values, state.value),
            updates=state.updates + returns.shape[0],
        )

    def score(self, key: Key, level: Level, learner: Any, state: MaxMCState) -> Float[Array, ""]:
        """R_max minus the mean of V in the last window."""
        return state.best - state.value
