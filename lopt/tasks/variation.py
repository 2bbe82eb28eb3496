"""Levels of supervised lifetimes: initialisation seed, task instance and lifetime."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, UInt

from lopt.protocols import Task
from lopt.types import Key, Level


class Variation(struct.PyTreeNode):
    """The `params` of a level of `SupervisedLifetime`.

    Attributes:
        seed: seed of the initial parameters.
        task: the task instance, as `Task.sample` returns it.
    """

    seed: UInt[Array, "*n"]
    task: Any


@dataclass(frozen=True, kw_only=True)
class Variations:
    """Samples levels of a task: a callable from a key to a `Level`, for `lopt.curriculum.DomainRandomisation`.

    Attributes:
        task: the task.
        lifetime: inner updates per lifetime; the largest number if `shortest` is given.
        shortest: if given, the number of inner updates is log-uniform from this to `lifetime`; None for a fixed number.

    Raises:
        ValueError: 1 <= shortest <= lifetime does not hold.
    """

    task: Task
    num_updates: int
    shortest: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= (self.num_updates if self.shortest is None else self.shortest) <= self.num_updates:
            raise ValueError(
                "Variations: expected 1 <= shortest <= num_updates "
                f"(got shortest {self.shortest} and num_updates {self.num_updates})"
            )

    def __call__(self, key: Key) -> Level:
        """A level with a random seed, a random task instance and a lifetime."""
        key_seed, key_task, key_lifetime = jax.random.split(key, 3)
        variation = Variation(jax.random.bits(key_seed, (), jnp.uint32), self.task.sample(key_task))
        if self.shortest is None:
            return Level(params=variation, num_updates=jnp.int32(self.num_updates))
        # rounding down maps [n, n + 1) to n, so the range ends at lifetime + 1
        log_range = jnp.log(jnp.array([self.shortest, self.num_updates + 1.0]))
        drawn = jnp.exp(jax.random.uniform(key_lifetime, (), minval=log_range[0], maxval=log_range[1]))
        return Level(params=variation, num_updates=jnp.clip(drawn.astype(jnp.int32), self.shortest, self.num_updates))
