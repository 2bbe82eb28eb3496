"""Hand-designed optimizers whose hyper-parameters are meta-parameters: the smallest learned optimizers; learning-rate
schedules that are data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.optimizers.arguments import check_number
from lopt.optimizers.differentiable import differentiable
from lopt.optimizers.per_parameter import check_theta, transformation
from lopt.protocols import LearnedOptimizer
from lopt.types import Key, Params, Progress, PyTree, Theta


@dataclass(frozen=True)
class FromOptax:
    """An optax optimizer as a `LearnedOptimizer`: `as_optax(theta)` is `make(theta)`.

    Attributes:
        make: function from theta to an optax transformation.
        initial: the initial theta as pairs of name and number; without any, theta is `()`.

    Example:
        FromOptax(lambda theta: optax.adamw(**theta), (("learning_rate", 1e-3),))
    """

    make: Callable[[Any], optax.GradientTransformation]
    initial: tuple[tuple[str, float], ...] = ()

    def init(self, key: Key) -> Theta:
        """The dictionary of `initial`, or `()`."""
        return {name: jnp.asarray(value, float) for name, value in self.initial} if self.initial else ()

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """`make(theta)` with finite derivatives (`differentiable`)."""
        return differentiable(self.make(theta))


class MomentumState(NamedTuple):
    """m, the momentum, a tree like the parameters."""

    m: PyTree


@dataclass(frozen=True)
class LearnableSGD:
    """SGD with learned hyper-parameters: m <- momentum m + g, x <- x - learning_rate m.

    theta is `log_learning_rate` and `log_decay` = log(1 - momentum).

    Attributes:
        learning_rate: its initial value.
        momentum: its initial value.

    Raises:
        ValueError: a learning rate that is not positive, a momentum outside [0, 1).
    """

    learning_rate: float = 0.01
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_number("LearnableSGD", "learning_rate", self.learning_rate, above=0)
        check_number("LearnableSGD", "1 - momentum", 1 - self.momentum, above=0)
        check_number("LearnableSGD", "momentum", self.momentum, least=0, most=1)

    def init(self, key: Key) -> Theta:
        """The logarithms of the initial values."""
        return _logs(log_learning_rate=self.learning_rate, log_decay=1 - self.momentum)

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation of SGD with momentum; `update` works without the parameters."""
        check_theta("LearnableSGD", theta, jax.eval_shape(self.init, jax.random.key(0)))

        def init(params: Params) -> MomentumState:
            return MomentumState(jax.tree.map(jnp.zeros_like, params))

        def update(grads: PyTree, state: MomentumState, params: Params, **extra: Any) -> tuple[PyTree, MomentumState]:
            momentum, rate = 1 - jnp.exp(theta["log_decay"]), jnp.exp(theta["log_learning_rate"])
            m = jax.tree.map(lambda m, g: (momentum * m + g).astype(m.dtype), state.m, grads)
            return jax.tree.map(lambda m: rate * m, m), MomentumState(m)

        return transformation("LearnableSGD", init, update, needs_params=False)


class AdamState(NamedTuple):
    """Number of updates so far, and Adam's first and second moments, trees like the parameters."""

    count: Int[Array, ""]  # type: ignore[assignment]
    m: PyTree
    v: PyTree


@dataclass(frozen=True, kw_only=True)
class LearnableAdam:
    """Adam with learned hyper-parameters.

    theta is `log_learning_rate`, `log_decay1` = log(1 - b1), `log_decay2` = log(1 - b2) and `log_eps`.

    Attributes:
        learning_rate: its initial value.
        b1: initial decay of the first moment.
        b2: initial decay of the second moment.
        eps: its initial value.

    Raises:
        ValueError: a learning rate or eps that is not positive, betas outside [0, 1).

    Paper: arXiv 1412.6980, algorithm 1.
    """

    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("learning_rate", "eps"):
            check_number("LearnableAdam", name, getattr(self, name), above=0)
        for name in ("b1", "b2"):
            check_number("LearnableAdam", name, getattr(self, name), least=0, most=1)
            check_number("LearnableAdam", f"1 - {name}", 1 - getattr(self, name), above=0)

    def init(self, key: Key) -> Theta:
        """The logarithms of the initial values."""
        return _logs(
            log_learning_rate=self.learning_rate, log_decay1=1 - self.b1, log_decay2=1 - self.b2, log_eps=self.eps
        )

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation of Adam; `update` works without the parameters."""
        check_theta("LearnableAdam", theta, jax.eval_shape(self.init, jax.random.key(0)))

        def init(params: Params) -> AdamState:
            # two trees of zeros, not one twice: their buffers may be donated
            m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
            return AdamState(jnp.zeros((), jnp.int32), m, v)

        def update(grads: PyTree, state: AdamState, params: Params, **extra: Any) -> tuple[PyTree, AdamState]:
            rate, decay1, decay2, eps = (
                jnp.exp(theta[name]) for name in ("log_learning_rate", "log_decay1", "log_decay2", "log_eps")
            )
            count = optax.safe_increment(state.count)
            m = jax.tree.map(lambda m, g: (m + decay1 * (g - m)).astype(m.dtype), state.m, grads)
            v = jax.tree.map(lambda v, g: (v + decay2 * (g * g - v)).astype(v.dtype), state.v, grads)
            bias1, bias2 = 1 - (1 - decay1) ** count, 1 - (1 - decay2) ** count

            def step(m, v):
                # the square root has no derivative at zero, and a parameter may have no gradient for long
                root = jnp.where(v > 0, jnp.sqrt(jnp.where(v > 0, v, 1.0) / bias2), 0.0)
                return rate * (m / bias1) / (root + eps)

            return jax.tree.map(step, m, v), AdamState(count, m, v)

        return transformation("LearnableAdam", init, update, needs_params=False)


def _logs(**values: float) -> Theta:
    return {name: jnp.log(jnp.asarray(value, float)) for name, value in values.items()}


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
