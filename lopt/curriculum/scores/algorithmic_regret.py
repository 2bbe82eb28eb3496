"""Regret of the learned rule against another algorithm on the same level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt.protocols import Lifetime
from lopt.types import Key, Level, Metrics, Theta


class AntagonistState(struct.PyTreeNode):
    """The antagonist's own learner, of the same age as the lifetime it goes along with."""

    learner: Any


@dataclass(frozen=True, eq=False, kw_only=True)
class AlgorithmicRegret:
    """AR(level) = V(antagonist after its life) - V(learner after its life): the regret of the learned rule.

    The antagonist is born with the learner and makes `num_updates` updates of its own for every K of the
    learner's, so both are done at the same time and only two evaluations are left for the end. The two
    evaluations, like the two lives, use independent keys.

    Attributes:
        antagonist: any `Lifetime`; it stops by itself at `level.lifetime`.
        num_updates: K, the learner's updates per meta-step.
        evaluate: `(key, level, learner) -> value`, higher is better.
        evaluate_antagonist: the same for the antagonist.
        antagonist_theta: the antagonist's meta-parameters, `()` for a hand-made algorithm.

    Raises:
        ValueError: `num_updates` below 1, or not the leading axis of the metrics in `advance`.

    Paper: arXiv 2310.02782 (antagonist: A2C).

    Differs: its code trains an antagonist from scratch for every lifetime at every meta-step and uses those
    whose lifetime has ended; here each is trained once, in lock-step. The distribution of the score is the
    same.
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
        """A newborn antagonist."""
        return AntagonistState(learner=self.antagonist.init(key, self.antagonist_theta, level))

    def advance(self, key: Key, level: Level, state: AntagonistState, metrics: Metrics) -> AntagonistState:
        """K updates of the antagonist."""
        for leaf in jax.tree.leaves(metrics):
            if leaf.shape[:1] != (self.num_updates,):
                raise ValueError(
                    "AlgorithmicRegret: the antagonist must make as many updates as the learner "
                    f"(got num_updates {self.num_updates}, metrics of shape {leaf.shape}, "
                    "expected num_updates as their leading axis)"
                )

        def update(learner: Any, key_step: Key) -> tuple[Any, None]:
            return self.antagonist.step(key_step, self.antagonist_theta, level, learner)[0], None

        learner, _ = jax.lax.scan(update, state.learner, jax.random.split(key, self.num_updates))
        return AntagonistState(learner=learner)

    def score(self, key: Key, level: Level, learner: Any, state: AntagonistState) -> Float[Array, ""]:
        """The difference of two evaluations."""
        key_antagonist, key_learner = jax.random.split(key)
        antagonist = self.evaluate_antagonist(key_antagonist, level, state.learner)
        return jnp.asarray(antagonist - self.evaluate(key_learner, level, learner), jnp.float32)
