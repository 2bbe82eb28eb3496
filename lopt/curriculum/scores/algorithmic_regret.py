"""Algorithmic regret: the value of an antagonist's policy minus that of the learned rule's on the same level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Theta


class AntagonistState(struct.PyTreeNode):
    """The antagonist's learner state; it has made as many updates as the learner."""

    learner: Any


@dataclass(frozen=True, eq=False, kw_only=True)
class AlgorithmicRegret:
    """AR(level) = V(antagonist at the end of its lifetime) - V(learner at the end of its lifetime).

    The antagonist is initialised when the learner is, and makes K updates for every K updates of the learner, so that
    both lifetimes end in the same meta-step. Both are then evaluated once. The two lifetimes and the two evaluations
    use independent keys.

    Attributes:
        antagonist: a `Lifetime`; its `step` is the identity after `level.num_updates` updates.
        num_updates: K, the learner's updates per meta-step.
        evaluate: `(key, level, learner) -> value`, higher is better.
        evaluate_antagonist: the same for the antagonist.
        antagonist_theta: meta-parameters of the antagonist; `()` for a hand-designed algorithm.

    Raises:
        ValueError: `num_updates` below 1, or not the leading axis of the updates in `advance`.

    Paper: arXiv 2310.02782 (antagonist: A2C).

    Differs: its code trains an antagonist from scratch for every lifetime at every meta-step and uses those whose
        lifetime has ended; here each is trained once, in lock-step. The distribution of the score is the same.
    """

    antagonist: Lifetime
    num_updates: int
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]
    evaluate_antagonist: Callable[[Key, Level, Any], Float[Array, ""]]
    antagonist_theta: Theta = ()

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"AlgorithmicRegret: num_updates must be positive (got {self.num_updates}, expected >= 1)")

    def init(self, key: Key, level: Level) -> AntagonistState:
        """The initial antagonist."""
        return AntagonistState(learner=self.antagonist.init(key, self.antagonist_theta, level))

    def advance(self, key: Key, level: Level, state: AntagonistState, updates: Any) -> AntagonistState:
        """The antagonist after K more updates; `updates` are only checked for their leading axis K."""
        for leaf in jax.tree.leaves(updates):
            if leaf.shape[:1] != (self.num_updates,):
                raise ValueError(
                    "AlgorithmicRegret: the antagonist must make as many updates as the learner "
                    f"(got num_updates {self.num_updates}, updates of shape {leaf.shape}, "
                    "expected num_updates as their leading axis)"
                )

        def update(learner: Any, key_step: Key) -> tuple[Any, None]:
            return self.antagonist.step(key_step, self.antagonist_theta, level, learner)[0], None

        learner, _ = jax.lax.scan(update, state.learner, jax.random.split(key, self.num_updates))
        return AntagonistState(learner=learner)

    def score(self, key: Key, level: Level, learner: Any, state: AntagonistState) -> Float[Array, ""]:
        """V(antagonist) - V(learner), each from one call of its evaluation."""
        key_antagonist, key_learner = jax.random.split(key)
        antagonist = self.evaluate_antagonist(key_antagonist, level, state.learner)
        return jnp.asarray(antagonist - self.evaluate(key_learner, level, learner), jnp.float32)
