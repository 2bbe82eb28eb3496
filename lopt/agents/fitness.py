"""Lifetimes with another meta-loss or learner: a final return, a return over the lifetime, a mean over environments; a
learner that is trained by a learned optimizer, whose meta-parameters are theta.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt import tree
from lopt.agents.disco import DiscoLifetime
from lopt.agents.lifetime import RLLifetime
from lopt.agents.ppo_lifetime import PPOLifetime
from lopt.protocols import LearnedOptimizer, Lifetime
from lopt.types import Key, Level, Metrics, Theta, UpdateInfo


@dataclass(frozen=True, kw_only=True)
class FinalReturn:
    """A lifetime with the meta-loss - F / scale, where F is the learner's performance: the fitness in ES.

    F is measured at the time of the call, which for evolution strategies is the end of the lifetime. It is not
    differentiable in theta; a meta-gradient needs the lifetime's own meta-loss.

    Attributes:
        lifetime: the lifetime, whose `init` and `step` are used.
        evaluate: F, a function `(key, level, learner) -> scalar` to be maximised; `MeanReturn` for agents.
        scale: F is divided by this (a good return on this task), so that tasks with different scales can be averaged.

    Raises:
        ValueError: a scale that is not positive.

    Paper: arXiv 2402.05828, section 4 (fitness: undiscounted return at the end of the lifetime).
    """

    lifetime: Lifetime
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"FinalReturn: scale must be positive (got {self.scale})")

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """An initial learner of `lifetime`."""
        return self.lifetime.init(key, theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, UpdateInfo]:
        """One update of `lifetime`."""
        return self.lifetime.step(key, theta, level, state)

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """- F / scale; the state is unchanged, and F is the metric "final_return".

        F is NaN for a learner whose `agent` is not finite, though such an agent acts and has a return.
        """
        value = tree.nan_unless_finite(self.evaluate(key, level, state), getattr(state, "agent", ()))
        return -value / self.scale, state, {"final_return": value}

    @property
    def score_type(self) -> Any:
        """What level scores can read of an update: as of `lifetime`."""
        return getattr(self.lifetime, "score_type", None)

    def age(self, state: Any) -> Int[Array, ""]:
        """n, the inner updates done."""
        return self.lifetime.age(state)


@dataclass(frozen=True)
class LifetimeReturn:
    """A lifetime with the meta-loss - F / scale, where F is its mean return over the updates done so far.

    F is the normalised area under the learning curve, with unfinished episodes included (`ReturnAccumulator`), and
    serves as fitness for evolution strategies. It varies less between agents than the final return (`FinalReturn`), so
    that fewer lifetimes are needed to compare two rules, and it needs no evaluation episodes. It is not differentiable
    in theta.

    Attributes:
        lifetime: the lifetime; its `tracked_updates` is the largest number of updates of a lifetime.
        scale: F is divided by this, so that tasks with returns of different scale can be averaged.
        start: F is the mean over the updates n >= `start` N of the lifetime's N updates; in [0, 1). With 0.5 it is the
            return of agents in the second half of their lifetimes.

    Raises:
        ValueError: a scale that is not positive, a `start` outside [0, 1), or a lifetime that does not track its
            returns.
    """

    lifetime: PPOLifetime | RLLifetime | DiscoLifetime
    scale: float = 1.0
    start: float = 0.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"LifetimeReturn: scale must be positive (got {self.scale})")
        if not 0 <= self.start < 1:
            raise ValueError(f"LifetimeReturn: start must be in [0, 1) (got {self.start})")
        if not getattr(self.lifetime, "tracked_updates", 0):
            raise ValueError(
                "LifetimeReturn: expected a lifetime of agents whose tracked_updates is the largest number "
                f"of updates of a lifetime (got {self.lifetime})"
            )

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """An initial learner of `lifetime`."""
        return self.lifetime.init(key, theta, level)

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, UpdateInfo]:
        """One update of `lifetime`."""
        return self.lifetime.step(key, theta, level, state)

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """- F / scale; the state is unchanged, and F is the metric "lifetime_return".

        F is NaN for a learner whose `agent` is not finite, though such an agent acts and has returns.
        """
        first = jnp.ceil(self.start * level.num_updates).astype(state.age.dtype)
        mean = state.returns.mean(state.running_return, state.age, first)
        mean = tree.nan_unless_finite(mean, state.agent)
        return -mean / self.scale, state, {"lifetime_return": mean}

    @property
    def score_type(self) -> type:
        """What level scores can read of an update."""
        return self.lifetime.score_type

    def age(self, state: Any) -> Int[Array, ""]:
        """n, the inner updates done."""
        return self.lifetime.age(state)


@dataclass(frozen=True)
class MultiEnvLifetime:
    """One lifetime in each of E environments, run in parallel; the meta-loss is the mean of theirs.

    `level.params` is a tuple of E levels, `level.num_updates` the largest of their numbers of updates; a learner whose
    own lifetime is over no longer changes. The state is a tuple of E learner states. Scale the meta-losses first
    (`FinalReturn.scale`), so that no environment dominates the mean.

    Attributes:
        lifetimes: the lifetimes, one per environment.
        names: names of the environments, as prefixes of the metrics: `name/metric`.

    Raises:
        ValueError: no lifetimes, or a different number of names.

    Paper: arXiv 2507.17668, section 4 (fitness averaged over environments).
    """

    lifetimes: tuple[Lifetime, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.lifetimes or len(self.lifetimes) != len(self.names):
            raise ValueError(
                "MultiEnvLifetime: expected at least one lifetime and a name for each "
                f"(got {len(self.lifetimes)} and {self.names})"
            )

    def level(self, levels: tuple[Level, ...]) -> Level:
        """One level from the levels of the E environments."""
        longest = jnp.stack([level.num_updates for level in levels]).max(0)
        return Level(params=levels, num_updates=longest)

    def init(self, key: Key, theta: Theta, level: Level) -> tuple[Any, ...]:
        """One initial learner per environment."""
        keys = jax.random.split(key, len(self.lifetimes))
        return tuple(
            lifetime.init(k, theta, one) for lifetime, k, one in zip(self.lifetimes, keys, level.params, strict=True)
        )

    def age(self, state: tuple[Any, ...]) -> Int[Array, ""]:
        """The largest number of updates done in an environment."""
        return jnp.stack([lifetime.age(s) for lifetime, s in zip(self.lifetimes, state, strict=True)]).max()

    def step(self, key: Key, theta: Theta, level: Level, state: tuple[Any, ...]) -> tuple[tuple[Any, ...], UpdateInfo]:
        """One update in each environment; metrics have the environment's name as prefix."""
        keys = jax.random.split(key, len(self.lifetimes))
        rows = zip(self.lifetimes, keys, level.params, state, strict=True)
        updated = [lifetime.step(k, theta, one, learner) for lifetime, k, one, learner in rows]
        infos = [info for _, info in updated]
        aux_loss = jnp.stack([jnp.asarray(info.aux_loss) for info in infos]).mean()
        info = UpdateInfo(self._prefixed([info.metrics for info in infos]), aux_loss, tuple(i.scores for i in infos))
        return tuple(learner for learner, _ in updated), info

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: tuple[Any, ...]
    ) -> tuple[Float[Array, ""], tuple[Any, ...], Metrics]:
        """The mean of the environments' meta-losses."""
        keys = jax.random.split(key, len(self.lifetimes))
        rows = zip(self.lifetimes, keys, level.params, state, strict=True)
        results = [lifetime.meta_loss(k, theta, one, learner) for lifetime, k, one, learner in rows]
        loss = jnp.stack([loss for loss, *_ in results]).mean()
        return loss, tuple(learner for _, learner, _ in results), self._prefixed([metrics for *_, metrics in results])

    def _prefixed(self, per_env: list[Metrics]) -> Metrics:
        return {
            f"{name}/{key}": x for name, metrics in zip(self.names, per_env, strict=True) for key, x in metrics.items()
        }


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
