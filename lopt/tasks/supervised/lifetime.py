"""The lifetime of a supervised model, and the levels of such lifetimes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from lopt import tree
from lopt.protocols import LearnedOptimizer, Task
from lopt.types import Key, Level, Metrics, Progress, Theta, UpdateInfo, check_lifetimes


class SupervisedLearnerState(struct.PyTreeNode):
    """Learner state of `SupervisedLifetime`.

    Attributes:
        params: parameters of the learner.
        opt_state: state of the inner optimizer.
        age: inner updates done.
    """

    params: Any
    opt_state: Any
    age: Int[Array, ""]


def uniform_loss_weight(progress: Progress) -> Float[Array, ""]:
    """Weight 1 for the loss at every time of a lifetime."""
    return jnp.ones(())


@dataclass(frozen=True)
class PowerLossWeight:
    """Weight (updates done / lifetime)^power for the loss at a time of a lifetime.

    Where the meta-loss is summed over the truncation windows of a lifetime (`lopt.meta.PES`), this puts more weight on
    late windows than on early ones.

    Attributes:
        power: exponent; zero weights all times equally.
    """

    power: float = 2.0

    def __call__(self, progress: Progress) -> Float[Array, ""]:
        """The weight at this progress."""
        return progress.fraction**self.power


@dataclass(frozen=True, kw_only=True)
class SupervisedLifetime:
    """Lifetime of a supervised learner: every inner update is one step of `optimizer.as_optax(theta)` on a minibatch.

    A level's `params` are a `Variation`: the seed of the initial parameters, and the task instance. `update` gets the
    extra arguments `value` (the loss), `progress`, `key`, and those that the task's loss returns. The meta-loss is the
    loss on a fresh batch. It is differentiable in theta, including through the learner's gradients.

    Attributes:
        task: the task.
        optimizer: the family of optimizers with meta-parameters theta; `lopt.optimizers.FromOptax` wraps a
            hand-designed optax optimizer.
        held_out: whether the meta-loss is measured on held-out data.
        weight: weight of the loss in the meta-loss as a function of progress: `uniform_loss_weight`, or
            `PowerLossWeight()`.
        bound: upper bound of the meta-loss, which also replaces NaN, so that diverged learners have a finite loss; None
            for no bound.

    Raises:
        ValueError: `bound` is not finite; in `init`, a level's lifetime is known and below one.
    """

    task: Task
    optimizer: LearnedOptimizer
    held_out: bool = True
    weight: Callable[[Progress], Float[Array, ""]] = uniform_loss_weight
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.bound is not None and not abs(self.bound) < float("inf"):
            raise ValueError(f"SupervisedLifetime: bound must be finite or None (got {self.bound})")

    def init(self, key: Key, theta: Theta, level: Level) -> SupervisedLearnerState:
        """Initial learner; parameters depend on the level's seed alone, `key` is not used."""
        check_lifetimes(level)
        variation = level.params
        params = self.task.init(jax.random.key(variation.seed), variation.task)
        opt_state = self.optimizer.as_optax(theta).init(params)
        return tree.canonical(SupervisedLearnerState(params, opt_state, jnp.zeros((), jnp.int32)))

    def age(self, state: SupervisedLearnerState) -> Int[Array, ""]:
        """Inner updates done."""
        return state.age

    def step(
        self, key: Key, theta: Theta, level: Level, state: SupervisedLearnerState
    ) -> tuple[SupervisedLearnerState, UpdateInfo]:
        """One minibatch update, and its metrics; the identity on the state once `age >= level.num_updates`."""
        key_batch, key_optimizer = jax.random.split(key)
        variation = level.params.task
        batch = self.task.batch(key_batch, variation, held_out=False)

        def loss(params):
            return self.task.loss(variation, params, batch)

        (value, (metrics, extra_args)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        progress = Progress(state.age, level.num_updates)
        extra_args = {"value": value, "progress": progress, "key": key_optimizer} | extra_args
        updates, opt_state = self.optimizer.as_optax(theta).update(grads, state.opt_state, state.params, **extra_args)
        updated = state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
        active = level.active(state.age)
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(grads)} | metrics
        metrics = {name: jnp.asarray(x, jnp.float32) for name, x in metrics.items()}
        after = tree.where(active, updated, state).replace(age=state.age + active.astype(state.age.dtype))
        return after, UpdateInfo(metrics)

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: SupervisedLearnerState
    ) -> tuple[Float[Array, ""], SupervisedLearnerState, Metrics]:
        """The weighted loss, the unchanged state, and metrics: `meta_{name}` of the task's, and `learner_loss`."""
        variation = level.params.task
        batch = self.task.batch(key, variation, held_out=self.held_out)
        loss, (metrics, _) = self.task.loss(variation, state.params, batch)
        if self.bound is not None:
            loss = jnp.where(loss < self.bound, loss, self.bound)
        metrics = {f"meta_{name}": x for name, x in metrics.items()} | {"learner_loss": loss}
        return self.weight(Progress(state.age, level.num_updates)) * loss, state, metrics


class Variation(struct.PyTreeNode):
    """The `params` of a level of `SupervisedLifetime`.

    Attributes:
        seed: seed of the initial parameters.
        task: the task instance, as `Task.sample` returns it.
    """

    seed: UInt[Array, "*n"]
    task: Any


@dataclass(frozen=True)
class Variations:
    """Samples levels of a task: a callable from a key to a `Level`, for `lopt.curriculum.DomainRandomisation`.

    Attributes:
        task: the task.
        num_updates: inner updates of a lifetime: a number, or a distribution, a function from a number that is uniform
            on [0, 1) to an integer (`envs.LogUniform(10, 100)`).

    Raises:
        ValueError: a number below one.
    """

    task: Task
    num_updates: int | Callable[[Float[Array, ""]], Int[Array, ""]]

    def __post_init__(self) -> None:
        if isinstance(self.num_updates, int) and self.num_updates < 1:
            raise ValueError(f"Variations: num_updates must be at least 1 (got {self.num_updates})")

    def __call__(self, key: Key) -> Level:
        """A level with a random seed, a random task instance and a number of updates."""
        key_seed, key_task, key_updates = jax.random.split(key, 3)
        variation = Variation(jax.random.bits(key_seed, (), jnp.uint32), self.task.sample(key_task))
        if isinstance(self.num_updates, int):
            return Level(params=variation, num_updates=jnp.int32(self.num_updates))
        return Level(params=variation, num_updates=self.num_updates(jax.random.uniform(key_updates)))
