"""The life of an in-context learner: all of its learning is one forward pass over a sequence."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from lopt.protocols import SequenceModel, SequenceTask
from lopt.types import Key, Level, Metrics, Theta


class Reader(struct.PyTreeNode):
    """An in-context learner between forward passes: the seed of the sequence it reads, and how many it was given."""

    seed: UInt[Array, "*n"]
    age: Int[Array, "*n"]


@dataclass(frozen=True)
class InContextLifetime:
    """A sequence model learns the level's task from the examples before each of its predictions.

    The level's params are a task of `task`. An inner update gives the learner another sequence of it; nothing else is
    kept, since theta stays as it is. The meta-loss is the mean over the positions of the whole forward pass; what is
    told of it is every loss and metric at the first and at the last position, and its mean.

    Attributes:
        task: what is learned.
        model: what learns.
        held_out: whether sequences are of data that is never trained on.

    Paper: arXiv 2212.04458, eq. 2 (there the sum over the positions).
    """

    task: SequenceTask
    model: SequenceModel
    held_out: bool = False

    def init(self, key: Key, theta: Theta, level: Level) -> Reader:
        """A newborn, with a sequence."""
        return Reader(jax.random.bits(key, (), jnp.uint32), jnp.zeros((), jnp.int32))

    def age(self, state: Reader) -> Int[Array, ""]:
        """Sequences it was given after birth."""
        return state.age

    def step(self, key: Key, theta: Theta, level: Level, state: Reader) -> tuple[Reader, Metrics]:
        """Another sequence; the identity once the lifetime is over."""
        alive = state.age < level.lifetime
        seed = jnp.where(alive, jax.random.bits(key, (), jnp.uint32), state.seed)
        return Reader(seed, state.age + alive.astype(state.age.dtype)), {}

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: Reader
    ) -> tuple[Float[Array, ""], Reader, Metrics]:
        """The mean loss, the same learner, and the ends of every curve."""
        losses, metrics = self.positions(theta, level, state)
        curves = {"loss": losses} | metrics
        told = {f"{name}_{end}": x[i] for name, x in curves.items() for end, i in (("first", 0), ("last", -1))}
        return losses.mean(), state, told | {f"{name}_mean": x.mean() for name, x in metrics.items()}

    def positions(self, theta: Theta, level: Level, state: Reader) -> tuple[Float[Array, " T"], Metrics]:
        """The forward pass: the loss and the metrics at every position."""
        context = self.task.context(jax.random.key(state.seed), level.params, held_out=self.held_out)
        outputs = self.model.apply(theta, context.xs, context.ys_prev)
        return self.task.losses(level.params, outputs, context.targets)


@dataclass(frozen=True)
class SequenceLevels:
    """Samples levels of a task: a callable from a key to a `Level`, for `lopt.curriculum.DomainRandomisation`.

    Attributes:
        task: the distribution of tasks.
        lifetime: sequences that are read of a task before another takes its place.

    Raises:
        ValueError: a lifetime below one.
    """

    task: SequenceTask
    lifetime: int = 1

    def __post_init__(self) -> None:
        if self.lifetime < 1:
            raise ValueError(f"SequenceLevels: lifetime must be at least 1 (got {self.lifetime})")

    def __call__(self, key: Key) -> Level:
        """One level."""
        return Level(params=self.task.sample(key), lifetime=jnp.int32(self.lifetime))
