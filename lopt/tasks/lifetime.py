"""The life of a supervised learner: minibatch after minibatch, moved by an optimizer that may be learned."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from lopt import tree
from lopt.protocols import LearnedOptimizer, Task
from lopt.types import Key, Level, Metrics, Progress, Theta, check_lifetimes


class Student(struct.PyTreeNode):
    """A supervised learner: its parameters, its optimizer's state, and the updates it has done."""

    params: Any
    opt_state: Any
    age: Int[Array, ""]


def evenly(progress: Progress) -> Float[Array, ""]:
    """Every part of a life counts alike."""
    return jnp.ones(())


@dataclass(frozen=True)
class Late:
    """The later the more: (updates done / lifetime) to a power.

    Where a meta-loss is taken in every window of a life (`lopt.meta.PES`), this trades the first windows for the last.
    """

    power: float = 2.0

    def __call__(self, progress: Progress) -> Float[Array, ""]:
        """The weight."""
        return progress.fraction**self.power


@dataclass(frozen=True)
class SupervisedLifetime:
    """A learner of `task`, one minibatch per update, moved by `optimizer`'s transformation for theta.

    The level's params are a `Variation`: the seed of the initialisation, and the task's own. The optimizer is told the
    loss (`value`), the `progress`, a `key`, and what the task tells it. The meta-loss is the loss on a fresh batch; it
    is differentiable in theta, through the learner's gradients too.

    Attributes:
        task: what is learned.
        optimizer: the rule; `lopt.optimizers.Designed` makes one of any optax transformation.
        held_out: whether the meta-loss is that of data that is never trained on.
        weight: what a loss at this time of life counts for in the meta-loss: `evenly`, or `Late()`.
        bound: the loss is never more, and is this where it is not a number: a learner that is lost is as bad as it
            can get, but no worse. None for the loss as it is.

    Raises:
        ValueError: a `bound` that is not finite; a level whose lifetime is known and below one (in `init`).
    """

    task: Task
    optimizer: LearnedOptimizer
    held_out: bool = True
    weight: Callable[[Progress], Float[Array, ""]] = evenly
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.bound is not None and not abs(self.bound) < float("inf"):
            raise ValueError(f"SupervisedLifetime: bound must be finite or None (got {self.bound})")

    def init(self, key: Key, theta: Theta, level: Level) -> Student:
        """A newborn; the level alone says what it is."""
        check_lifetimes(level)
        variation = level.params
        params = self.task.init(jax.random.key(variation.seed), variation.task)
        born = Student(params, self.optimizer.as_optax(theta).init(params), jnp.zeros((), jnp.int32))
        return tree.canonical(born)

    def age(self, state: Student) -> Int[Array, ""]:
        """Updates done."""
        return state.age

    def step(self, key: Key, theta: Theta, level: Level, state: Student) -> tuple[Student, Metrics]:
        """One minibatch update; the identity once the lifetime is over."""
        key_batch, key_optimizer = jax.random.split(key)
        variation = level.params.task
        batch = self.task.batch(key_batch, variation, held_out=False)

        def loss(params):
            return self.task.loss(variation, params, batch)

        (value, (metrics, told)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        told = {"value": value, "progress": Progress(state.age, level.lifetime), "key": key_optimizer} | told
        updates, opt_state = self.optimizer.as_optax(theta).update(grads, state.opt_state, state.params, **told)
        moved = state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
        alive = state.age < level.lifetime
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(grads)} | metrics
        metrics = {name: jnp.asarray(x, jnp.float32) for name, x in metrics.items()}
        return tree.where(alive, moved, state).replace(age=state.age + alive.astype(state.age.dtype)), metrics

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: Student
    ) -> tuple[Float[Array, ""], Student, Metrics]:
        """The loss now times its weight, the same learner, and the task's metrics with the loss itself."""
        variation = level.params.task
        batch = self.task.batch(key, variation, held_out=self.held_out)
        loss, (metrics, _) = self.task.loss(variation, state.params, batch)
        if self.bound is not None:
            loss = jnp.where(loss < self.bound, loss, self.bound)
        told = {f"meta_{name}": x for name, x in metrics.items()} | {"learner_loss": loss}
        return self.weight(Progress(state.age, level.lifetime)) * loss, state, told
