"""A life that is judged by all of it."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta


class Judged(struct.PyTreeNode):
    """A learner, and the sum and number of what has been measured of it."""

    learner: Any
    total: Float[Array, ""]
    count: Float[Array, ""]


@dataclass(frozen=True)
class LifeReturn:
    """The same life, with minus the mean of a metric over its updates as meta-loss: the area under the learning curve.

    For evolution strategies. What agents end up with (`FinalReturn`) differs more from agent to agent than what they
    earned on the way, so that this tells rules apart by fewer lives; and it costs no episodes of evaluation.

    Attributes:
        lifetime: what lives.
        metric: the metric of its `step`, higher is better; updates where it is not a number do not count.
        scale: the mean is divided by this, so that tasks can be mixed.
        unknown: what a life counts as in which it never was a number.

    Raises:
        ValueError: a scale that is not positive.
    """

    lifetime: Lifetime
    metric: str = "episode_return"
    scale: float = 1.0
    unknown: float = 0.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"LifeReturn: scale must be positive (got {self.scale})")

    def init(self, key: Key, theta: Theta, level: Level) -> Judged:
        """A newborn learner of which nothing is known."""
        return Judged(self.lifetime.init(key, theta, level), jnp.zeros(()), jnp.zeros(()))

    def step(self, key: Key, theta: Theta, level: Level, state: Judged) -> tuple[Judged, Metrics]:
        """One update."""
        learner, told = self.lifetime.step(key, theta, level, state.learner)
        value = jnp.asarray(told[self.metric], jnp.float32)
        counts = ~jnp.isnan(value) & (self.age(state) < level.lifetime)
        total = state.total + jnp.where(counts, value, 0.0)
        return Judged(learner, total, state.count + counts), told

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: Judged
    ) -> tuple[Float[Array, ""], Judged, Metrics]:
        """Minus the mean so far, divided by the scale."""
        mean = jnp.where(state.count > 0, state.total / jnp.maximum(state.count, 1), self.unknown)
        return -mean / self.scale, state, {"life_return": mean}

    def age(self, state: Judged) -> Int[Array, ""]:
        """Updates done."""
        return self.lifetime.age(state.learner)
