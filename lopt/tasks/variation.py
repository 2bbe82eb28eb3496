"""Levels of supervised lifetimes: which newborn, which variation of the task, for how long."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, UInt

from lopt.protocols import Task
from lopt.types import Key, Level


class Variation(struct.PyTreeNode):
    """What a level says: the seed of the learner's initialisation, and the task's own variation."""

    seed: UInt[Array, "*n"]
    task: Any


@dataclass(frozen=True)
class Variations:
    """Samples levels of a task: a callable from a key to a `Level`, for `lopt.curriculum.DomainRandomisation`.

    Attributes:
        task: the task.
        lifetime: updates of a life.
        shortest: if given, lifetimes are log-uniform between this and `lifetime`.

    Raises:
        ValueError: lifetimes below one, or a `shortest` above `lifetime`.
    """

    task: Task
    lifetime: int
    shortest: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= (self.lifetime if self.shortest is None else self.shortest) <= self.lifetime:
            raise ValueError(
                "Variations: expected 1 <= shortest <= lifetime "
                f"(got shortest {self.shortest} and lifetime {self.lifetime})"
            )

    def __call__(self, key: Key) -> Level:
        """One level."""
        key_seed, key_task, key_lifetime = jax.random.split(key, 3)
        variation = Variation(jax.random.bits(key_seed, (), jnp.uint32), self.task.sample(key_task))
        if self.shortest is None:
            return Level(params=variation, lifetime=jnp.int32(self.lifetime))
        # each whole number stands for the interval that is cut off to it
        ends = jnp.log(jnp.array([self.shortest, self.lifetime + 1.0]))
        drawn = jnp.exp(jax.random.uniform(key_lifetime, (), minval=ends[0], maxval=ends[1]))
        return Level(params=variation, lifetime=jnp.clip(drawn.astype(jnp.int32), self.shortest, self.lifetime))
