"""The lifetime of a learner that is trained by a learned optimizer, whose meta-parameters are theta."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax
from jaxtyping import Array, Float, Int

from lopt.protocols import LearnedOptimizer, Lifetime
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


@dataclass(frozen=True, kw_only=True)
class LearnedOptimizerLifetime:
    """A lifetime whose optimizer is learned: theta is the optimizer's meta-parameters.

    In every call the optimizer `rule.as_optax(theta)` is given to `make`, and the lifetime that it returns does the
    work with the fixed meta-parameters `objective_theta`:

        step(key, theta, level, state) = make(rule.as_optax(theta)).step(key, objective_theta, level, state).

    An agent's lifetime passes the arguments of `LearnedOptimizer` to the optimizer's update. Estimators, `MetaLearner`
    and `MetaTester` use this lifetime as any other. The learner state is that of the inner lifetime, with the
    optimizer's state in it. It is differentiable in theta where the inner lifetime is in its optimizer's steps.

    Attributes:
        rule: the learned optimizer; `FromOptax` makes one of an optax optimizer, with its learning rate as theta.
        make: function from an optax transformation to a lifetime. It must be pure, and lifetimes that it makes may
            differ in the transformation alone.
        objective_theta: the meta-parameters of the inner lifetime's objective; `()` for PPO and A2C.

    Example:
        LearnedOptimizerLifetime(
            rule=lopt.optimizers.OpenRule(),
            make=lambda tx: PPOLifetime(optimizer=optax.chain(optax.clip_by_global_norm(0.5), tx), ...),
        )

    Paper: arXiv 2407.07082, with `OpenRule`, `PPOLifetime` and `lopt.meta.ES`. Differs: with the chain of the example,
        the gradient's norm is clipped for policy and value function together; their code clips each alone.
    """

    rule: LearnedOptimizer
    make: Callable[[optax.GradientTransformationExtraArgs], Lifetime]
    objective_theta: Any = ()

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """An initial learner of the inner lifetime."""
        return self._lifetime(theta).init(key, self.objective_theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, UpdateInfo]:
        """One update of the inner lifetime, by the optimizer with meta-parameters theta."""
        return self._lifetime(theta).step(key, self.objective_theta, level, state)

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """The meta-loss of the inner lifetime."""
        return self._lifetime(theta).meta_loss(key, self.objective_theta, level, state)

    @property
    def score_type(self) -> Any:
        """What level scores can read of an update: as of the inner lifetime."""
        return getattr(self._with_any_optimizer, "score_type", None)

    def age(self, state: Any) -> Int[Array, ""]:
        """n, the inner updates done."""
        return self._with_any_optimizer.age(state)

    def _lifetime(self, theta: Theta) -> Lifetime:
        return self.make(self.rule.as_optax(theta))

    @property
    def _with_any_optimizer(self) -> Lifetime:
        """The inner lifetime, for what does not depend on its optimizer."""
        return self.make(optax.with_extra_args_support(optax.identity()))
