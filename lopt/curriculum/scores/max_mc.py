"""The best return ever seen on a level against what the learner's critic expects."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.curriculum.scores.window import alive, window_mean
from lopt.types import Key, Level, Metrics


class MaxMCState(struct.PyTreeNode):
    """`best`: the largest return of the life, -inf before one; `value`: the last window's mean V; `updates`
    done."""

    best: Float[Array, "*n"]
    value: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class MaxMC:
    """MaxMC = mean_t (R_max - V(s_t)): R_max over the whole life, V over its last K updates.

    Reads the metrics "best_return" (largest return of an episode that ended in the update's rollout, -inf
    if none did) and "value_mean" `[K]`; updates past the end of the life do not count. The maximum starts
    at minus infinity, so levels on which every return is negative are ordered too, and a life in which no
    episode ended is "not measured".

    Paper: arXiv 2110.02439 (maximum Monte Carlo).

    Differs: R_max is of this life and not of every life the level has had; peers start it at 0.
    """

    def init(self, key: Key, level: Level) -> MaxMCState:
        """No episode yet."""
        return MaxMCState(
            best=jnp.full((), -jnp.inf, jnp.float32),
            value=jnp.zeros((), jnp.float32),
            updates=jnp.zeros((), jnp.int32),
        )

    def advance(self, key: Key, level: Level, state: MaxMCState, metrics: Metrics) -> MaxMCState:
        """Raise the maximum, keep the mean of these K."""
        returns, values = metrics["best_return"], metrics["value_mean"]
        live = alive(level, state.updates, returns.shape[0])
        best = jnp.where(live, returns, -jnp.inf).max().astype(jnp.float32)
        return MaxMCState(
            best=jnp.maximum(state.best, best),
            value=window_mean(level, state.updates, values, state.value),
            updates=state.updates + returns.shape[0],
        )

    def score(self, key: Key, level: Level, learner: Any, state: MaxMCState) -> Float[Array, ""]:
        """R_max - mean V."""
        return state.best - state.value
