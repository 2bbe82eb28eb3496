"""A lifetime whose meta-loss is minus the final performance of the learner."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


@dataclass(frozen=True, kw_only=True)
class FinalReturn:
    """A lifetime with the meta-loss - F / scale, where F is the learner's performance: the fitness in ES.

    F is measured at the time of the call, which for evolution strategies is the end of the lifetime. It is not
    differentiable in theta; a meta-gradient needs the lifetime's own meta-loss.

    Attributes:
        lifetime: the lifetime, whose `init` and `step` are used.
        evaluate: F, a function `(key, level, learner) -> scalar` to be maximised; `MeanReturn` for agents.
        scale: F is divided by this (a good return on this task), so that tasks with different scales can be averaged.

    Raises:
        ValueError: a scale that is not positive.

    Paper: arXiv 2402.05828, section 4 (fitness: undiscounted return at the end of the lifetime).
    """

    lifetime: Lifetime
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"FinalReturn: scale must be positive (got {self.scale})")

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """An initial learner of `lifetime`."""
        return self.lifetime.init(key, theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, UpdateInfo]:
        """One update of `lifetime`."""
        return self.lifetime.step(key, theta, level, state)

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """- F / scale; the state is unchanged, and F is the metric "final_return"."""
        value = self.evaluate(key, level, state)
        return -value / self.scale, state, {"final_return": value}

    @property
    def score_type(self) -> Any:
        """What level scores can read of an update: as of `lifetime`."""
        return getattr(self.lifetime, "score_type", None)

    def age(self, state: Any) -> Int[Array, ""]:
        """n, the inner updates done."""
        return self.lifetime.age(state)
