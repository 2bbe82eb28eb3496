"""A life that is judged by what it has come to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta


@dataclass(frozen=True)
class FinalReturn:
    """The same life, with minus the learner's measured value as meta-loss: the fitness of evolution strategies.

    The measurement is not differentiable; a meta-gradient needs the lifetime's own meta-loss.

    Attributes:
        lifetime: what lives.
        evaluate: `(key, level, learner) -> value`, higher is better; `MeanReturn` for agents.
        scale: the value is divided by this (a return that counts as good on this task), so that tasks can be mixed.

    Raises:
        ValueError: a scale that is not positive.

    Paper: arXiv 2402.05828, section 4 (fitness: undiscounted return at the end of the life).
    """

    lifetime: Lifetime
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"FinalReturn: scale must be positive (got {self.scale})")

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """A newborn learner."""
        return self.lifetime.init(key, theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, Metrics]:
        """One update."""
        return self.lifetime.step(key, theta, level, state)

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """Minus the value, divided by the scale."""
        value = self.evaluate(key, level, state)
        return -value / self.scale, state, {"final_return": value}

    def age(self, state: Any) -> Int[Array, ""]:
        """Updates done."""
        return self.lifetime.age(state)
