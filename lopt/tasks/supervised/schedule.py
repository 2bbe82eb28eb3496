"""Tasks whose learners have learning-rate schedules drawn at random."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from lopt.optimizers import Schedule
from lopt.protocols import Task
from lopt.types import Key, Params, TaskLoss


class ScheduledInstance(struct.PyTreeNode):
    """Task instance of `RandomSchedule`.

    Attributes:
        schedule: the learner's learning-rate schedule.
        inner: instance of the inner task.
    """

    schedule: Schedule
    inner: Any


@dataclass(frozen=True, kw_only=True)
class RandomSchedule:
    """Gives every learner of `task` a random `lopt.optimizers.Schedule`, an extra argument of the optimizer's update.

    The logarithm of the peak learning rate is uniform on [log smallest, log largest]. For meta-training of optimizers
    whose rate and schedule are the user's choice (`lopt.optimizers.Scheduled`).

    Attributes:
        task: the inner task.
        smallest: smallest peak learning rate.
        largest: largest peak learning rate.
        probabilities: of the shapes constant, linear and cosine.

    Raises:
        ValueError: 0 < smallest <= largest < infinity does not hold, or `probabilities` are not three numbers that are
            not negative and sum to one.
    """

    task: Task
    smallest: float
    largest: float
    probabilities: tuple[float, float, float] = (0.2, 0.2, 0.6)

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < float("inf"):
            raise ValueError(
                f"RandomSchedule: expected 0 < smallest <= largest (got {self.smallest} and {self.largest}), both "
                "finite"
            )
        if len(self.probabilities) != 3 or min(self.probabilities) < 0 or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError(
                f"RandomSchedule: probabilities must be three numbers that sum to 1 (got {self.probabilities})"
            )

    def sample(self, key: Key) -> ScheduledInstance:
        """A random schedule, and an instance of the inner task."""
        key_peak, key_shape, key_inner = jax.random.split(key, 3)
        low, high = jnp.log(self.smallest), jnp.log(self.largest)
        peak = jnp.exp(jax.random.uniform(key_peak, minval=low, maxval=high))
        shape = jax.random.choice(key_shape, 3, p=jnp.array(self.probabilities))
        return ScheduledInstance(Schedule(peak, shape.astype(jnp.int32)), self.task.sample(key_inner))

    def init(self, key: Key, instance: ScheduledInstance) -> Params:
        """Initial parameters of the inner task."""
        return self.task.init(key, instance.inner)

    def batch(self, key: Key, instance: ScheduledInstance, *, held_out: bool) -> Any:
        """A minibatch of the inner task."""
        return self.task.batch(key, instance.inner, held_out=held_out)

    def loss(self, instance: ScheduledInstance, params: Params, batch: Any) -> TaskLoss:
        """Loss and metrics of the inner task, with the extra optimizer argument `schedule`."""
        loss, (metrics, extra_args) = self.task.loss(instance.inner, params, batch)
        return loss, (metrics, extra_args | {"schedule": instance.schedule})
