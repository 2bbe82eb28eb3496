"""What a learner earned in its life."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.curriculum.scores.window import alive
from lopt.types import Key, Level, Metrics


class LifetimeRewardState(struct.PyTreeNode):
    """Sum of the updates' mean rewards, and the updates done."""

    total: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class LifetimeReward:
    """Mean reward per step over the whole life: the return of a life, whatever its length.

    Reads the metric "reward" `[K]` of the lifetime's updates; updates past the end of the life do not count.

    Paper: arXiv 2007.08794 (what its bandit over hyper-parameters is told).
    """

    def init(self, key: Key, level: Level) -> LifetimeRewardState:
        """Nothing yet."""
        return LifetimeRewardState(total=jnp.zeros((), jnp.float32), updates=jnp.zeros((), jnp.int32))

    def advance(self, key: Key, level: Level, state: LifetimeRewardState, metrics: Metrics) -> LifetimeRewardState:
        """Add these K."""
        rewards = metrics["reward"]
        live = alive(level, state.updates, rewards.shape[0])
        earned = jnp.where(live, rewards, 0.0).sum().astype(jnp.float32)
        return LifetimeRewardState(total=state.total + earned, updates=state.updates + rewards.shape[0])

    def score(self, key: Key, level: Level, learner: Any, state: LifetimeRewardState) -> Float[Array, ""]:
        """The mean; minus infinity before the first update."""
        mean = state.total / jnp.maximum(jnp.minimum(state.updates, level.lifetime), 1).astype(jnp.float32)
        return jnp.where(state.updates > 0, mean, -jnp.inf)
