"""Learning-rate schedules that are data, and a rule whose steps follow the schedule that `update` is given."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.protocols import LearnedOptimizer
from lopt.types import Key, Params, Progress, PyTree, Theta

CONSTANT, LINEAR, COSINE = range(3)
"""Shapes of a `Schedule`."""


class Schedule(struct.PyTreeNode):
    """A learning rate that is `peak` times 1, 1 - n / N, or (1 + cos(pi n / N)) / 2 in update n of N.

    Attributes:
        peak: the largest learning rate.
        shape: CONSTANT, LINEAR or COSINE (0, 1, 2).
    """

    peak: Float[Array, "*n"]
    shape: Int[Array, "*n"]

    def __call__(self, progress: Progress) -> Float[Array, ""]:
        """The learning rate at this progress."""
        left = 1 - progress.fraction
        return self.peak * jnp.stack([jnp.ones_like(left), left, jnp.square(jnp.sin(0.5 * jnp.pi * left))])[self.shape]


@dataclass(frozen=True)
class Scheduled:
    """A learned optimizer whose updates are multiplied by a schedule of the learner's.

    `update` needs the extra arguments `schedule`, a `Schedule` (`lopt.tasks.RandomSchedule` gives one), and `progress`.
    For meta-training of a rule whose learning rate is the user's to choose, such as `NormalisedRule(learning_rate=1)`.

    Attributes:
        rule: the learned optimizer.

    Raises:
        ValueError: in `update`, no `schedule` or no `progress`.
    """

    rule: LearnedOptimizer

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters of the rule."""
        return self.rule.init(key)

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The rule with meta-parameters theta and scheduled updates."""
        inner = self.rule.as_optax(theta)

        def update(updates: PyTree, state: Any, params: Params | None = None, **extra: Any) -> tuple[PyTree, Any]:
            missing = [name for name in ("schedule", "progress") if extra.get(name) is None]
            if missing:
                raise ValueError(
                    f"Scheduled: update needs the extra arguments schedule and progress (got no {missing})"
                )
            rate = extra["schedule"](extra["progress"])
            steps, state = inner.update(updates, state, params, **extra)
            return jax.tree.map(lambda u: u if u.dtype == bool else (rate * u).astype(u.dtype), steps), state

        return optax.GradientTransformationExtraArgs(inner.init, update)
