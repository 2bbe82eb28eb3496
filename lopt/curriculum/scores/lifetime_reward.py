"""Mean reward of a lifetime as its score."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.curriculum.scores.window import within_lifetime
from lopt.types import Key, Level, RolloutScores


class LifetimeRewardState(struct.PyTreeNode):
    """`total`: sum over the updates of their mean rewards; `updates`: number of updates so far."""

    total: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class LifetimeReward:
    """Mean reward per environment step over the whole lifetime, a return that is comparable between lengths.

    It reads `RolloutScores.reward` `[K]` of the lifetime's updates; updates after the end of the lifetime do not count.

    Paper: arXiv 2007.08794 (the return that its bandit over hyper-parameters uses).
    """

    requires: ClassVar[type] = RolloutScores

    def init(self, key: Key, level: Level) -> LifetimeRewardState:
        """The state before the first update."""
        return LifetimeRewardState(total=jnp.zeros((), jnp.float32), updates=jnp.zeros((), jnp.int32))

    def advance(
        self, key: Key, level: Level, state: LifetimeRewardState, updates: RolloutScores
    ) -> LifetimeRewardState:
        """Add the rewards of K more updates."""
        rewards = updates.reward
        mask = within_lifetime(level, state.updates, rewards.shape[0])
        window_total = jnp.where(mask, rewards, 0.0).sum().astype(jnp.float32)
        return LifetimeRewardState(total=state.total + window_total, updates=state.updates + rewards.shape[0])

    def score(self, key: Key, level: Level, learner: Any, state: LifetimeRewardState) -> Float[Array, ""]:
        """The mean over the updates so far; minus infinity before the first one."""
        mean = state.total / jnp.maximum(jnp.minimum(state.updates, level.num_updates), 1).astype(jnp.float32)
        return jnp.where(state.updates > 0, mean, -jnp.inf)
