"""Level scores: how much a level is worth replaying after a lifetime on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt.protocols import Lifetime
from lopt.types import Key, Level, RolloutScores, Theta, ValueScores


def within_lifetime(level: Level, updates: Int[Array, ""], num: int) -> Bool[Array, " K"]:
    """Which of the `num` updates that follow the first `updates` are within the level's lifetime."""
    return level.active(updates + jnp.arange(num))


def window_mean(
    level: Level, updates: Int[Array, ""], values: Float[Array, " K"], default: Float[Array, ""]
) -> Float[Array, ""]:
    """Mean of the `values` of the updates within the lifetime; `default` if there are none."""
    mask = within_lifetime(level, updates, values.shape[0])
    mean = jnp.where(mask, values, 0.0).sum() / jnp.maximum(mask.sum(), 1)
    return jnp.where(mask.any(), mean.astype(jnp.float32), default)


@dataclass(frozen=True)
class Uniform:
    """Score 0 for every level, so that `Replay` samples uniformly from its buffer (equal scores share a rank).

    As a level is only replaced by one with a higher score, the buffer then keeps the first levels that filled it. For
    training without replay, as in LPG, use `DomainRandomisation`.
    """

    def init(self, key: Key, level: Level) -> tuple[()]:
        """The empty state `()`."""
        return ()

    def advance(self, key: Key, level: Level, state: Any, updates: Any) -> Any:
        """The unchanged state."""
        return state

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """The score 0."""
        return jnp.zeros((), jnp.float32)


class ValueLossState(struct.PyTreeNode):
    """`value`: mean of the last window, -inf before the first; `updates`: number of updates so far."""

    value: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class PositiveValueLoss:
    """PVL = mean_t max(A_t, 0) over the last K updates of the lifetime, with A_t the GAE advantage.

    It reads `ValueScores.positive_advantage` `[K]` of the lifetime's updates; updates after the end of the lifetime do
    not count.

    Paper: arXiv 2110.02439 (positive value loss); arXiv 2310.02782 (as a baseline).
    """

    requires: ClassVar[type] = ValueScores

    def init(self, key: Key, level: Level) -> ValueLossState:
        """The state before the first update: the value minus infinity, "not measured"."""
        return _initial_value_loss()

    def advance(self, key: Key, level: Level, state: ValueLossState, updates: ValueScores) -> ValueLossState:
        """Replace the mean by that of K more updates."""
        return _advance_value_loss(level, state, updates.positive_advantage)

    def score(self, key: Key, level: Level, learner: Any, state: ValueLossState) -> Float[Array, ""]:
        """The mean of the last window."""
        return state.value


@dataclass(frozen=True)
class L1ValueLoss:
    """L1 = mean_t |A_t| over the last K updates of the lifetime, with A_t the GAE advantage.

    It reads `ValueScores.absolute_advantage` `[K]` of the lifetime's updates; updates after the end of the lifetime do
    not count.

    Paper: arXiv 2010.03934 (GAE magnitude); arXiv 2310.02782 (as a baseline).
    """

    requires: ClassVar[type] = ValueScores

    def init(self, key: Key, level: Level) -> ValueLossState:
        """The state before the first update: the value minus infinity, "not measured"."""
        return _initial_value_loss()

    def advance(self, key: Key, level: Level, state: ValueLossState, updates: ValueScores) -> ValueLossState:
        """Replace the mean by that of K more updates."""
        return _advance_value_loss(level, state, updates.absolute_advantage)

    def score(self, key: Key, level: Level, learner: Any, state: ValueLossState) -> Float[Array, ""]:
        """The mean of the last window."""
        return state.value


def _initial_value_loss() -> ValueLossState:
    return ValueLossState(value=jnp.full((), -jnp.inf, jnp.float32), updates=jnp.zeros((), jnp.int32))


def _advance_value_loss(level: Level, state: ValueLossState, values: Float[Array, " K"]) -> ValueLossState:
    value = window_mean(level, state.updates, values, state.value)
    return ValueLossState(value=value, updates=state.updates + values.shape[0])


class MaxMCState(struct.PyTreeNode):
    """`best`: highest return so far, -inf before one; `value`: mean V of the last window; `updates`: number so far."""

    best: Float[Array, "*n"]
    value: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class MaxMC:
    """MaxMC = mean_t (R_max - V(s_t)), with R_max over the whole lifetime and V over its last K updates.

    It reads `best_return` (highest return of an episode that ended in the update's rollout, -inf if none did) and
    `value` `[K]` of `ValueScores`; updates after the end of the lifetime do not count. The maximum starts at minus
    infinity, so that levels with negative returns alone are ordered, too; a lifetime in which no episode ended has the
    score minus infinity, which means "not measured".

    Paper: arXiv 2110.02439 (maximum Monte Carlo).

    Differs: R_max is over this lifetime, not over all lifetimes on the level; other codes start it at 0.
    """

    requires: ClassVar[type] = ValueScores

    def init(self, key: Key, level: Level) -> MaxMCState:
        """The state before the first update."""
        return MaxMCState(
            best=jnp.full((), -jnp.inf, jnp.float32),
            value=jnp.zeros((), jnp.float32),
            updates=jnp.zeros((), jnp.int32),
        )

    def advance(self, key: Key, level: Level, state: MaxMCState, updates: ValueScores) -> MaxMCState:
        """Update R_max and replace the mean of V by that of K more updates."""
        returns, values = updates.best_return, updates.value
        mask = within_lifetime(level, state.updates, returns.shape[0])
        best = jnp.where(mask, returns, -jnp.inf).max().astype(jnp.float32)
        return MaxMCState(
            best=jnp.maximum(state.best, best),
            value=window_mean(level, state.updates, values, state.value),
            updates=state.updates + returns.shape[0],
        )

    def score(self, key: Key, level: Level, learner: Any, state: MaxMCState) -> Float[Array, ""]:
        """R_max minus the mean of V in the last window."""
        return state.best - state.value


class LifetimeRewardState(struct.PyTreeNode):
    """`total`: sum over the updates of their mean rewards; `updates`: number of updates so far."""

    total: Float[Array, "*n"]
    updates: Int[Array, "*n"]


@dataclass(frozen=True)
class LifetimeReward:
    """Mean reward per environment step over the whole lifetime, a return that is comparable between lengths.

    It reads `RolloutScores.reward` `[K]` of the lifetime's updates; updates after the end of the lifetime do not count.

    Paper: arXiv 2007.08794 (the return that its bandit over hyper-parameters uses).
    """

    requires: ClassVar[type] = RolloutScores

    def init(self, key: Key, level: Level) -> LifetimeRewardState:
        """The state before the first update."""
        return LifetimeRewardState(total=jnp.zeros((), jnp.float32), updates=jnp.zeros((), jnp.int32))

    def advance(
        self, key: Key, level: Level, state: LifetimeRewardState, updates: RolloutScores
    ) -> LifetimeRewardState:
        """Add the rewards of K more updates."""
        rewards = updates.reward
        mask = within_lifetime(level, state.updates, rewards.shape[0])
        window_total = jnp.where(mask, rewards, 0.0).sum().astype(jnp.float32)
        return LifetimeRewardState(total=state.total + window_total, updates=state.updates + rewards.shape[0])

    def score(self, key: Key, level: Level, learner: Any, state: LifetimeRewardState) -> Float[Array, ""]:
        """The mean over the updates so far; minus infinity before the first one."""
        mean = state.total / jnp.maximum(jnp.minimum(state.updates, level.num_updates), 1).astype(jnp.float32)
        return jnp.where(state.updates > 0, mean, -jnp.inf)


@dataclass(frozen=True, kw_only=True)
class OracleRegret:
    """Regret = oracle(level) - V(learner at the end of its lifetime).

    Attributes:
        oracle: `(key, level) -> value`: the optimal policy's return ("optimal-policy regret") or a random policy's.
        evaluate: `(key, level, learner) -> value`, in the same unit, higher is better; its key is independent of the
            oracle's.

    Paper: arXiv 2310.02782 (baselines in its study of antagonists).
    """

    oracle: Callable[[Key, Level], Float[Array, ""]]
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]

    def init(self, key: Key, level: Level) -> tuple[()]:
        """The empty state `()`."""
        return ()

    def advance(self, key: Key, level: Level, state: Any, updates: Any) -> Any:
        """The unchanged state."""
        return state

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """The regret; it is negative for a learner that is better than the oracle."""
        key_oracle, key_learner = jax.random.split(key)
        value = self.oracle(key_oracle, level) - self.evaluate(key_learner, level, learner)
        return jnp.asarray(value, jnp.float32)


class AntagonistState(struct.PyTreeNode):
    """The antagonist's learner state; it has made as many updates as the learner."""

    learner: Any


@dataclass(frozen=True, eq=False, kw_only=True)
class AlgorithmicRegret:
    """AR(level) = V(antagonist at the end of its lifetime) - V(learner at the end of its lifetime).

    The antagonist is initialised when the learner is, and makes K updates for every K updates of the learner, so that
    both lifetimes end in the same meta-step. Both are then evaluated once. The two lifetimes and the two evaluations
    use independent keys.

    Attributes:
        antagonist: a `Lifetime`; its `step` is the identity after `level.num_updates` updates.
        num_updates: K, the learner's updates per meta-step.
        evaluate: `(key, level, learner) -> value`, higher is better.
        evaluate_antagonist: the same for the antagonist.
        antagonist_theta: meta-parameters of the antagonist; `()` for a hand-designed algorithm.

    Raises:
        ValueError: `num_updates` below 1, or not the leading axis of the updates in `advance`.

    Paper: arXiv 2310.02782 (antagonist: A2C).

    Differs: its code trains an antagonist from scratch for every lifetime at every meta-step and uses those whose
        lifetime has ended; here each is trained once, in lock-step. The distribution of the score is the same.
    """

    antagonist: Lifetime
    num_updates: int
    evaluate: Callable[[Key, Level, Any], Float[Array, ""]]
    evaluate_antagonist: Callable[[Key, Level, Any], Float[Array, ""]]
    antagonist_theta: Theta = ()

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"AlgorithmicRegret: num_updates must be positive (got {self.num_updates}, expected >= 1)")

    def init(self, key: Key, level: Level) -> AntagonistState:
        """The initial antagonist."""
        return AntagonistState(learner=self.antagonist.init(key, self.antagonist_theta, level))

    def advance(self, key: Key, level: Level, state: AntagonistState, updates: Any) -> AntagonistState:
        """The antagonist after K more updates; `updates` are only checked for their leading axis K."""
        for leaf in jax.tree.leaves(updates):
            if leaf.shape[:1] != (self.num_updates,):
                raise ValueError(
                    "AlgorithmicRegret: the antagonist must make as many updates as the learner "
                    f"(got num_updates {self.num_updates}, updates of shape {leaf.shape}, "
                    "expected num_updates as their leading axis)"
                )

        def update(learner: Any, key_step: Key) -> tuple[Any, None]:
            return self.antagonist.step(key_step, self.antagonist_theta, level, learner)[0], None

        learner, _ = jax.lax.scan(update, state.learner, jax.random.split(key, self.num_updates))
        return AntagonistState(learner=learner)

    def score(self, key: Key, level: Level, learner: Any, state: AntagonistState) -> Float[Array, ""]:
        """V(antagonist) - V(learner), each from one call of its evaluation."""
        key_antagonist, key_learner = jax.random.split(key)
        antagonist = self.evaluate_antagonist(key_antagonist, level, state.learner)
        return jnp.asarray(antagonist - self.evaluate(key_learner, level, learner), jnp.float32)
