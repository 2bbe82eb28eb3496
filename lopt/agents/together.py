"""One life in several environments: a learner in each, all by the same rule."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta


@dataclass(frozen=True)
class Together:
    """Learners of several lifetimes side by side; the meta-loss is the mean of theirs.

    `level.params` is a tuple of the parts' levels and `level.lifetime` the longest of their lifetimes; a part whose
    own life is over waits for the others. Bring the meta-losses to one scale first (`FinalReturn.scale`).

    Attributes:
        parts: the lifetimes.
        names: what the parts' metrics are told apart by, `name/metric`.

    Raises:
        ValueError: no parts, or another number of names.

    Paper: arXiv 2507.17668, section 4 (fitness averaged over environments).
    """

    parts: tuple[Lifetime, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.names):
            raise ValueError(
                f"Together: expected at least one part and a name for each (got {len(self.parts)} and {self.names})"
            )

    def level(self, levels: tuple[Level, ...]) -> Level:
        """The parts' levels as one."""
        longest = jnp.stack([level.lifetime for level in levels]).max(0)
        return Level(params=levels, lifetime=longest)

    def init(self, key: Key, theta: Theta, level: Level) -> tuple[Any, ...]:
        """Newborn learners."""
        keys = jax.random.split(key, len(self.parts))
        return tuple(p.init(k, theta, one) for p, k, one in zip(self.parts, keys, level.params, strict=True))

    def age(self, state: tuple[Any, ...]) -> Int[Array, ""]:
        """Updates of the one that has lived longest."""
        return jnp.stack([part.age(one) for part, one in zip(self.parts, state, strict=True)]).max()

    def step(self, key: Key, theta: Theta, level: Level, state: tuple[Any, ...]) -> tuple[tuple[Any, ...], Metrics]:
        """One update of each."""
        keys = jax.random.split(key, len(self.parts))
        parts = zip(self.parts, keys, level.params, state, strict=True)
        moved = [part.step(k, theta, one, learner) for part, k, one, learner in parts]
        return tuple(learner for learner, _ in moved), self._named([told for _, told in moved])

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: tuple[Any, ...]
    ) -> tuple[Float[Array, ""], tuple[Any, ...], Metrics]:
        """The mean of the parts' meta-losses."""
        keys = jax.random.split(key, len(self.parts))
        parts = zip(self.parts, keys, level.params, state, strict=True)
        found = [part.meta_loss(k, theta, one, learner) for part, k, one, learner in parts]
        loss = jnp.stack([loss for loss, *_ in found]).mean()
        return loss, tuple(learner for _, learner, _ in found), self._named([told for *_, told in found])

    def _named(self, told: list[Metrics]) -> Metrics:
        return {
            f"{name}/{key}": x for name, metrics in zip(self.names, told, strict=True) for key, x in metrics.items()
        }
