"""A lifetime with one learner in each of several environments, all trained by the same rule."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


@dataclass(frozen=True)
class MultiEnvLifetime:
    """One lifetime in each of E environments, run in parallel; the meta-loss is the mean of theirs.

    `level.params` is a tuple of E levels, `level.num_updates` the largest of their numbers of updates; a learner whose
    own lifetime is over no longer changes. The state is a tuple of E learner states. Scale the meta-losses first
    (`FinalReturn.scale`), so that no environment dominates the mean.

    Attributes:
        lifetimes: the lifetimes, one per environment.
        names: names of the environments, as prefixes of the metrics: `name/metric`.

    Raises:
        ValueError: no lifetimes, or a different number of names.

    Paper: arXiv 2507.17668, section 4 (fitness averaged over environments).
    """

    lifetimes: tuple[Lifetime, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.lifetimes or len(self.lifetimes) != len(self.names):
            raise ValueError(
                "MultiEnvLifetime: expected at least one lifetime and a name for each "
                f"(got {len(self.lifetimes)} and {self.names})"
            )

    def level(self, levels: tuple[Level, ...]) -> Level:
        """One level from the levels of the E environments."""
        longest = jnp.stack([level.num_updates for level in levels]).max(0)
        return Level(params=levels, num_updates=longest)

    def init(self, key: Key, theta: Theta, level: Level) -> tuple[Any, ...]:
        """One initial learner per environment."""
        keys = jax.random.split(key, len(self.lifetimes))
        return tuple(
            lifetime.init(k, theta, one) for lifetime, k, one in zip(self.lifetimes, keys, level.params, strict=True)
        )

    def age(self, state: tuple[Any, ...]) -> Int[Array, ""]:
        """The largest number of updates done in an environment."""
        return jnp.stack([lifetime.age(s) for lifetime, s in zip(self.lifetimes, state, strict=True)]).max()

    def step(self, key: Key, theta: Theta, level: Level, state: tuple[Any, ...]) -> tuple[tuple[Any, ...], UpdateInfo]:
        """One update in each environment; metrics have the environment's name as prefix."""
        keys = jax.random.split(key, len(self.lifetimes))
        rows = zip(self.lifetimes, keys, level.params, state, strict=True)
        updated = [lifetime.step(k, theta, one, learner) for lifetime, k, one, learner in rows]
        infos = [info for _, info in updated]
        aux_loss = jnp.stack([jnp.asarray(info.aux_loss) for info in infos]).mean()
        info = UpdateInfo(self._prefixed([info.metrics for info in infos]), aux_loss, tuple(i.scores for i in infos))
        return tuple(learner for learner, _ in updated), info

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: tuple[Any, ...]
    ) -> tuple[Float[Array, ""], tuple[Any, ...], Metrics]:
        """The mean of the environments' meta-losses."""
        keys = jax.random.split(key, len(self.lifetimes))
        rows = zip(self.lifetimes, keys, level.params, state, strict=True)
        results = [lifetime.meta_loss(k, theta, one, learner) for lifetime, k, one, learner in rows]
        loss = jnp.stack([loss for loss, *_ in results]).mean()
        return loss, tuple(learner for _, learner, _ in results), self._prefixed([metrics for *_, metrics in results])

    def _prefixed(self, per_env: list[Metrics]) -> Metrics:
        return {
            f"{name}/{key}": x for name, metrics in zip(self.names, per_env, strict=True) for key, x in metrics.items()
        }
