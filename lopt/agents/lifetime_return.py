"""A lifetime whose meta-loss is minus its mean return over all updates."""

from dataclasses import dataclass

from jaxtyping import Array, Float, Int

from lopt.agents.ppo_lifetime import PPOLifetime, PPOState
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


@dataclass(frozen=True)
class LifetimeReturn:
    """A lifetime with the meta-loss - F / scale, where F is its mean return over the updates done so far.

    F is the normalised area under the learning curve, with unfinished episodes included (`ReturnAccumulator`), and
    serves as fitness for evolution strategies. It varies less between agents than the final return (`FinalReturn`), so
    that fewer lifetimes are needed to compare two rules, and it needs no evaluation episodes. It is not differentiable
    in theta.

    Attributes:
        lifetime: the lifetime; its `tracked_updates` is the largest number of updates of a lifetime.
        scale: F is divided by this, so that tasks with returns of different scale can be averaged.

    Raises:
        ValueError: a scale that is not positive, or a lifetime that does not track its returns.
    """

    lifetime: PPOLifetime
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"LifetimeReturn: scale must be positive (got {self.scale})")
        if not isinstance(self.lifetime, PPOLifetime) or not self.lifetime.tracked_updates:
            raise ValueError(
                "LifetimeReturn: expected a PPOLifetime whose tracked_updates is the largest number of updates of a "
                f"lifetime (got {self.lifetime})"
            )

    def init(self, key: Key, theta: Theta, level: Level) -> PPOState:
        """An initial learner of `lifetime`."""
        return self.lifetime.init(key, theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: PPOState) -> tuple[PPOState, UpdateInfo]:
        """One update of `lifetime`."""
        return self.lifetime.step(key, theta, level, state)

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: PPOState
    ) -> tuple[Float[Array, ""], PPOState, Metrics]:
        """- F / scale; the state is unchanged, and F is the metric "lifetime_return"."""
        mean = state.returns.mean(state.running_return, state.age)
        return -mean / self.scale, state, {"lifetime_return": mean}

    @property
    def score_type(self) -> type:
        """What level scores can read of an update: as of `lifetime`."""
        return self.lifetime.score_type

    def age(self, state: PPOState) -> Int[Array, ""]:
        """n, the inner updates done."""
        return self.lifetime.age(state)
