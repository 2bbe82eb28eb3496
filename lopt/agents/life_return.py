"""A life that is judged by all of it."""

from dataclasses import dataclass

from jaxtyping import Array, Float, Int

from lopt.agents.ppo_lifetime import PPOLifetime, PPOState
from lopt.types import Key, Level, Metrics, Theta


@dataclass(frozen=True)
class LifeReturn:
    """The same life, with minus its mean return over all updates as meta-loss: the area under the learning curve.

    For evolution strategies. What agents end up with (`FinalReturn`) differs more from agent to agent than what they
    earned on the way, so that this tells rules apart by fewer lives; and it costs no episodes of evaluation. Unfinished
    episodes count (`LifetimeReturns`).

    Attributes:
        lifetime: what lives; its `tracked_updates` is the number of updates of the longest life.
        scale: the mean is divided by this, so that tasks can be mixed.

    Raises:
        ValueError: a scale that is not positive, or a lifetime that does not track its returns.
    """

    lifetime: PPOLifetime
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"LifeReturn: scale must be positive (got {self.scale})")
        if not isinstance(self.lifetime, PPOLifetime) or not self.lifetime.tracked_updates:
            raise ValueError(
                "LifeReturn: expected a PPOLifetime whose tracked_updates is the number of updates of the longest life "
                f"(got {self.lifetime})"
            )

    def init(self, key: Key, theta: Theta, level: Level) -> PPOState:
        """A newborn learner."""
        return self.lifetime.init(key, theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: PPOState) -> tuple[PPOState, Metrics]:
        """One update."""
        return self.lifetime.step(key, theta, level, state)

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: PPOState
    ) -> tuple[Float[Array, ""], PPOState, Metrics]:
        """Minus the mean so far, divided by the scale."""
        mean = state.returns.mean(state.earned, state.age)
        return -mean / self.scale, state, {"life_return": mean}

    def age(self, state: PPOState) -> Int[Array, ""]:
        """Updates done."""
        return self.lifetime.age(state)
