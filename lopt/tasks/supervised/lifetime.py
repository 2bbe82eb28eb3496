"""The lifetime of a supervised model, the levels of such lifetimes, learning-rate schedules drawn at random, and a
meta-loss that includes the training losses since it was last measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from lopt import tree
from lopt.optimizers import Schedule
from lopt.protocols import LearnedOptimizer, Lifetime, Task
from lopt.types import Key, Level, Metrics, Params, Progress, TaskLoss, Theta, UpdateInfo, check_lifetimes


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


class WindowState(struct.PyTreeNode):
    """Learner state of `WindowLoss`.

    Attributes:
        learner: learner state of the inner lifetime.
        total: sum of the training losses since the last meta-loss.
        count: their number.
    """

    learner: Any
    total: Float[Array, ""]
    count: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class WindowLoss:
    """A lifetime whose meta-loss is (1 - share) L + share (mean training loss of the updates since the last meta-loss).

    L is the meta-loss of the inner lifetime. An estimator with truncated unrolls (`lopt.meta.PES`) measures L once at
    the end of a window, on one minibatch; the mean over the window's updates has less noise. A window without updates
    has the meta-loss L.

    Attributes:
        lifetime: whose updates report the metric `loss`, such as `SupervisedLifetime`.
        share: weight of the window's mean, in [0, 1].
        bound: upper bound of every training loss in the mean, which also replaces NaN; None for no bound.

    Raises:
        ValueError: `share` outside [0, 1], a `bound` that is not finite.
    """

    lifetime: Lifetime
    share: float = 0.5
    bound: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"WindowLoss: share must be in [0, 1] (got {self.share})")
        if self.bound is not None and not abs(self.bound) < float("inf"):
            raise ValueError(f"WindowLoss: bound must be finite or None (got {self.bound})")

    def init(self, key: Key, theta: Theta, level: Level) -> WindowState:
        """An initial learner, and an empty window."""
        return _empty(self.lifetime.init(key, theta, level))

    def age(self, state: WindowState) -> Int[Array, ""]:
        """Inner updates done."""
        return self.lifetime.age(state.learner)

    def step(self, key: Key, theta: Theta, level: Level, state: WindowState) -> tuple[WindowState, UpdateInfo]:
        """One inner update, whose loss enters the window."""
        learner, info = self.lifetime.step(key, theta, level, state.learner)
        loss, active = info.metrics["loss"], level.active(self.lifetime.age(state.learner))
        if self.bound is not None:
            loss = jnp.where(loss < self.bound, loss, self.bound)
        total = state.total + jnp.where(active, loss, 0.0)
        return WindowState(learner, total, state.count + active.astype(state.count.dtype)), info

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: WindowState
    ) -> tuple[Float[Array, ""], WindowState, Metrics]:
        """The mixed loss, the same learner with an empty window, and the inner metrics with `window_loss`."""
        loss, learner, metrics = self.lifetime.meta_loss(key, theta, level, state.learner)
        mean = jnp.where(state.count > 0, state.total / jnp.maximum(state.count, 1), loss)
        return (1 - self.share) * loss + self.share * mean, _empty(learner), metrics | {"window_loss": mean}


def _empty(learner: Any) -> WindowState:
    return WindowState(learner, jnp.zeros(()), jnp.zeros((), jnp.int32))


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
