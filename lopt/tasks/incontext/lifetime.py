"""In-context learning as a lifetime: the inner learner is one forward pass of a sequence model."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from lopt.protocols import SequenceModel, SequenceTask
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


class InContextLearnerState(struct.PyTreeNode):
    """Learner state of `InContextLifetime`: it determines the sequence, since theta does not change within a lifetime.

    Attributes:
        seed: seed of the current sequence.
        age: inner updates done, each of which drew a new sequence.
    """

    seed: UInt[Array, "*n"]
    age: Int[Array, "*n"]


@dataclass(frozen=True, kw_only=True)
class InContextLifetime:
    """Lifetime of a sequence model that learns a task from the examples in its context.

    A level's `params` are one task of `task`. An inner update draws another sequence of that task and changes nothing
    else. The meta-loss is the mean loss over all positions of the forward pass. The metrics are the loss and every
    metric of the task at the first and the last position (`{name}_first`, `{name}_last`), and the mean of every metric
    of the task over positions (`{name}_mean`).

    Attributes:
        task: distribution of tasks.
        model: the sequence model, whose weights are theta.
        held_out: whether sequences are drawn from held-out data.

    Paper: arXiv 2212.04458, eq. 2.
    Differs: the paper sums the losses over positions; this is their mean.
    """

    task: SequenceTask
    model: SequenceModel
    held_out: bool = False

    def init(self, key: Key, theta: Theta, level: Level) -> InContextLearnerState:
        """Initial learner state: age 0 and a random sequence."""
        return InContextLearnerState(jax.random.bits(key, (), jnp.uint32), jnp.zeros((), jnp.int32))

    def age(self, state: InContextLearnerState) -> Int[Array, ""]:
        """Inner updates done: sequences drawn after the initial one."""
        return state.age

    def step(
        self, key: Key, theta: Theta, level: Level, state: InContextLearnerState
    ) -> tuple[InContextLearnerState, UpdateInfo]:
        """Draw another sequence; the identity once `age >= level.num_updates`."""
        active = level.active(state.age)
        seed = jnp.where(active, jax.random.bits(key, (), jnp.uint32), state.seed)
        return InContextLearnerState(seed, state.age + active.astype(state.age.dtype)), UpdateInfo({})

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: InContextLearnerState
    ) -> tuple[Float[Array, ""], InContextLearnerState, Metrics]:
        """The mean loss over positions, the unchanged state, and the metrics that the class describes."""
        losses, metrics = self.position_losses(theta, level, state)
        curves = {"loss": losses} | metrics
        ends = {f"{name}_{end}": x[i] for name, x in curves.items() for end, i in (("first", 0), ("last", -1))}
        return losses.mean(), state, ends | {f"{name}_mean": x.mean() for name, x in metrics.items()}

    def position_losses(
        self, theta: Theta, level: Level, state: InContextLearnerState
    ) -> tuple[Float[Array, " T"], Metrics]:
        """Loss and metrics `[T]` at every position of the forward pass over the sequence of `state.seed`."""
        context = self.task.context(jax.random.key(state.seed), level.params, held_out=self.held_out)
        outputs = self.model.apply(theta, context.xs, context.ys_prev)
        return self.task.losses(level.params, outputs, context.targets)


@dataclass(frozen=True)
class SequenceLevels:
    """Samples levels of a sequence task: a callable from a key to a `Level`, for `lopt.curriculum.DomainRandomisation`.

    Attributes:
        task: distribution of tasks.
        lifetime: inner updates (sequences) per task before the lifetime ends.

    Raises:
        ValueError: `lifetime` is below one.
    """

    task: SequenceTask
    lifetime: int = 1

    def __post_init__(self) -> None:
        if self.lifetime < 1:
            raise ValueError(f"SequenceLevels: lifetime must be at least 1 (got {self.lifetime})")

    def __call__(self, key: Key) -> Level:
        """A level with a random task."""
        return Level(params=self.task.sample(key), num_updates=jnp.int32(self.lifetime))
