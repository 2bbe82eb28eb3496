"""A meta-loss that includes the training losses since it was last measured."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


class WindowState(struct.PyTreeNode):
    """Learner state of `WindowLoss`.

    Attributes:
        learner: learner state of the inner lifetime.
        total: sum of the training losses since the last meta-loss.
        count: their number.
    """

    learner: Any
    total: Float[Array, ""]
    count: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class WindowLoss:
    """A lifetime whose meta-loss is (1 - share) L + share (mean training loss of the updates since the last meta-loss).

    L is the meta-loss of the inner lifetime. An estimator with truncated unrolls (`lopt.meta.PES`) measures L once at
    the end of a window, on one minibatch; the mean over the window's updates has less noise. A window without updates
    has the meta-loss L.

    Attributes:
        lifetime: whose updates report the metric `loss`, such as `SupervisedLifetime`.
        share: weight of the window's mean, in [0, 1].
        bound: upper bound of every training loss in the mean, which also replaces NaN; None for no bound.

    Raises:
        ValueError: `share` outside [0, 1], a `bound` that is not finite.
    """

    lifetime: Lifetime
    share: float = 0.5
    bound: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"WindowLoss: share must be in [0, 1] (got {self.share})")
        if self.bound is not None and not abs(self.bound) < float("inf"):
            raise ValueError(f"WindowLoss: bound must be finite or None (got {self.bound})")

    def init(self, key: Key, theta: Theta, level: Level) -> WindowState:
        """An initial learner, and an empty window."""
        return _empty(self.lifetime.init(key, theta, level))

    def age(self, state: WindowState) -> Int[Array, ""]:
        """Inner updates done."""
        return self.lifetime.age(state.learner)

    def step(self, key: Key, theta: Theta, level: Level, state: WindowState) -> tuple[WindowState, UpdateInfo]:
        """One inner update, whose loss enters the window."""
        learner, info = self.lifetime.step(key, theta, level, state.learner)
        loss, active = info.metrics["loss"], level.active(self.lifetime.age(state.learner))
        if self.bound is not None:
            loss = jnp.where(loss < self.bound, loss, self.bound)
        total = state.total + jnp.where(active, loss, 0.0)
        return WindowState(learner, total, state.count + active.astype(state.count.dtype)), info

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: WindowState
    ) -> tuple[Float[Array, ""], WindowState, Metrics]:
        """The mixed loss, the same learner with an empty window, and the inner metrics with `window_loss`."""
        loss, learner, metrics = self.lifetime.meta_loss(key, theta, level, state.learner)
        mean = jnp.where(state.count > 0, state.total / jnp.maximum(state.count, 1), loss)
        return (1 - self.share) * loss + self.share * mean, _empty(learner), metrics | {"window_loss": mean}


def _empty(learner: Any) -> WindowState:
    return WindowState(learner, jnp.zeros(()), jnp.zeros((), jnp.int32))
