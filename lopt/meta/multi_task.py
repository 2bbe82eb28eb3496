"""One rule meta-trained on several tasks: an estimator for each task, and the weighted mean of their gradients."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.protocols import Estimator, Lifetime
from lopt.types import EstimatorMetrics, EstimatorState, Key, Level, Metrics, Theta, UpdateInfo


class MultiTaskShared(struct.PyTreeNode):
    """Shared state of `MultiTask`.

    Attributes:
        tasks: shared states of the M estimators, a tuple.
        square_norms: running means of the squared norms of their gradients, without bias correction; zeros if
            gradients are not normalised.
        count: estimates made so far.
    """

    tasks: Any
    square_norms: Float[Array, " M"]
    count: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class MultiTask:
    """Weighted mean of the meta-gradients of M tasks: g = sum_i w_i g_i / norm_i / sum_i w_i.

    Every task has its own estimator with its own lifetime, so that learners, losses and perturbations of theta may
    differ between tasks in all respects. The estimators advance one after the other in every meta-step.

    Each of the N lifetimes is one learner on every task: `level.params` is a tuple of the tasks' `Level.params`, and
    `level.num_updates` holds for all (`TaskLevels` draws such levels). A lifetime is replaced when it has ended on
    every task, or when it is not finite on one.

    With `norm_decay` every task has the same influence, whatever the scale of its losses: norm_i is the root of a
    running mean of |g_i|^2 with this decay, corrected for its start at zero. Otherwise norm_i is 1.

    Metrics of a task have its name as prefix (`digits/meta_loss`). Without prefix there are the weighted mean
    `meta_loss` of the finite losses and the mean `frac_nonfinite`. What level scores read of updates is not reported.

    Attributes:
        estimators: an estimator per task.
        names: the tasks' names.
        weights: w, one number per task; None for equal weights.
        norm_decay: decay of the running mean of squared norms, in [0, 1); None for gradients as they are.

    Raises:
        ValueError: no estimators, a number of names or weights that differs from theirs, two equal names, a weight that
            is negative, weights that sum to zero, or a decay outside [0, 1).
    """

    estimators: tuple[Estimator, ...]
    names: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    norm_decay: float | None = None

    def __post_init__(self) -> None:
        number = len(self.estimators)
        if not number or len(self.names) != number or len(set(self.names)) != number:
            raise ValueError(
                "MultiTask: expected at least one estimator and a different name for each "
                f"(got {number} estimators and names {self.names})"
            )
        weights = self._weights
        if len(weights) != number or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise ValueError(
                f"MultiTask: expected {number} weights that are not negative and have a positive sum (got {weights})"
            )
        if self.norm_decay is not None and not 0 <= self.norm_decay < 1:
            raise ValueError(f"MultiTask: norm_decay must be in [0, 1) or None (got {self.norm_decay})")

    @property
    def _weights(self) -> tuple[float, ...]:
        return (1.0,) * len(self.estimators) if self.weights is None else self.weights

    @property
    def lifetime(self) -> Lifetime:
        """The lifetime of the first task; the others' are those of `estimators`."""
        return self.estimators[0].lifetime

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Initial learners of every task, a tuple of the estimators' states."""
        keys = jax.random.split(key, len(self.estimators))
        rows = zip(self.estimators, keys, self._levels(levels), strict=True)
        states = [estimator.init(k, theta, own) for estimator, k, own in rows]
        shared = MultiTaskShared(
            tasks=tuple(state.shared for state in states),
            square_norms=jnp.zeros(len(states)),
            count=jnp.zeros((), jnp.int32),
        )
        return EstimatorState(per_lifetime=tuple(state.per_lifetime for state in states), shared=shared)

    def learners(self, state: EstimatorState) -> tuple[Any, ...]:
        """The learner states of every task, leaves `[N, ...]`."""
        return tuple(estimator.learners(own) for estimator, own in self._states(state))

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Inner updates done in each lifetime, on the task with the fewest."""
        return jnp.stack([estimator.age(own) for estimator, own in self._states(state)]).min(0)

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """The mean of the tasks' gradients, their states after the estimate, and metrics."""
        keys = jax.random.split(key, len(self.estimators))
        rows = zip(self._states(state), keys, self._levels(levels), strict=True)
        estimates = [estimator.estimate(k, theta, own_levels, own) for (estimator, own), k, own_levels in rows]
        grads, states, measured = zip(*estimates, strict=True)
        shared: MultiTaskShared = state.shared
        count, square_norms, factors = shared.count + 1, shared.square_norms, jnp.ones(len(grads))
        if self.norm_decay is not None:
            squares = jnp.stack([jnp.square(optax.tree.norm(g)) for g in grads])
            # a task without a finite gradient must not spoil the mean for ever
            squares = jnp.where(jnp.isfinite(squares), squares, 0.0)
            square_norms = self.norm_decay * square_norms + (1 - self.norm_decay) * squares
            corrected = square_norms / (1 - self.norm_decay ** count.astype(jnp.float32))
            factors = jnp.where(corrected > 0, jax.lax.rsqrt(jnp.where(corrected > 0, corrected, 1.0)), 0.0)
        factors = factors * jnp.array(self._weights) / sum(self._weights)
        gradient = jax.tree.map(lambda *gs: sum(f * g for f, g in zip(factors, gs, strict=True)), *grads)
        after = EstimatorState(
            per_lifetime=tuple(own.per_lifetime for own in states),
            shared=MultiTaskShared(tuple(own.shared for own in states), square_norms, count),
        )
        return gradient, after, self._metrics(measured, [optax.tree.norm(g) for g in grads])

    def _levels(self, levels: Level) -> list[Level]:
        """The levels of each task."""
        if not isinstance(levels.params, tuple) or len(levels.params) != len(self.estimators):
            raise ValueError(
                f"MultiTask: level.params must be a tuple with one entry for each of the {len(self.estimators)} tasks "
                f"(got {type(levels.params).__name__})"
            )
        return [levels.replace(params=params) for params in levels.params]

    def _states(self, state: EstimatorState) -> list[tuple[Estimator, EstimatorState]]:
        """The estimators, each with its own state."""
        rows = zip(self.estimators, state.per_lifetime, state.shared.tasks, strict=True)
        return [(estimator, EstimatorState(own, shared)) for estimator, own, shared in rows]

    def _metrics(self, measured: tuple[EstimatorMetrics, ...], norms: list[Array]) -> EstimatorMetrics:
        rows = list(zip(self.names, measured, norms, strict=True))
        meta: Metrics = {f"{name}/{metric}": x for name, own, _ in rows for metric, x in own.meta.items()}
        meta |= {f"{name}/task_gradient_norm": norm for name, _, norm in rows}
        losses = jnp.stack([_finite_mean(own.meta["meta_loss"], own.finite) for own in measured])
        weights = jnp.where(jnp.isfinite(losses), jnp.array(self._weights), 0.0)
        meta["meta_loss"] = (jnp.where(weights > 0, losses, 0.0) @ weights) / weights.sum()
        excluded = [own.meta["frac_nonfinite"] for own in measured if "frac_nonfinite" in own.meta]
        if excluded:
            meta["frac_nonfinite"] = jnp.stack([jnp.asarray(x).mean() for x in excluded]).mean()
        steps = {f"{name}/{metric}": x for name, own, _ in rows for metric, x in own.steps.metrics.items()}
        finite = jnp.stack([own.finite for own in measured]).all(0)
        return EstimatorMetrics(meta=meta, steps=UpdateInfo(steps), finite=finite)


def _finite_mean(losses: Any, finite: Bool[Array, " N"]) -> Float[Array, ""]:
    """The mean over the finite lifetimes, NaN without any; a scalar is a mean already."""
    if jnp.ndim(losses) == 0:
        return jnp.asarray(losses)
    return jnp.where(finite, losses, 0.0).sum() / finite.sum()


@dataclass(frozen=True)
class TaskLevels:
    """Levels of `MultiTask`: a callable from a key to a `Level` whose params are a tuple with those of every task.

    Attributes:
        tasks: for each task, a callable from a key to a `Level`; that of the first one gives `num_updates`.
    """

    tasks: tuple[Any, ...]

    def __call__(self, key: Key) -> Level:
        """A level of every task, drawn independently, with one number of updates."""
        drawn = [sample(k) for sample, k in zip(self.tasks, jax.random.split(key, len(self.tasks)), strict=True)]
        return tree.canonical(drawn[0].replace(params=tuple(level.params for level in drawn)))
