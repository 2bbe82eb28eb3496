"""Curricula without a level buffer: levels from a distribution or a fixed set, which ignore scores, and a bandit that
chooses the learning rates of each lifetime, on top of any curriculum of levels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.protocols import Curriculum
from lopt.types import NEW, UNTRACKED, Assignment, Key, Level, Metrics, Rates, check_lifetimes


@dataclass(frozen=True)
class DomainRandomisation:
    """Domain randomisation: every lifetime is trained on a new sample of `generator`; scores are ignored.

    Attributes:
        generator: samples one level from a key; the curriculum vmaps it over the lifetimes that need a level.

    Raises:
        ValueError: the generator cannot be called.

    Paper: arXiv 1703.06907; the curriculum of LPG (arXiv 2007.08794) and the baseline of arXiv 2310.02782.
    """

    generator: Callable[[Key], Level]

    def __post_init__(self) -> None:
        if not callable(self.generator):
            raise ValueError(
                f"DomainRandomisation: generator must be callable (got {self.generator!r}, expected key -> level)"
            )

    def init(self, key: Key, num_lifetimes: int) -> tuple[Any, Assignment]:
        """The empty state `()` and a sampled level for every lifetime."""
        levels = jax.vmap(self.generator)(jax.random.split(key, num_lifetimes))
        return (), Assignment(levels=levels, slot=jnp.full((num_lifetimes,), NEW, jnp.int32))

    def exchange(
        self,
        key: Key,
        state: Any,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[Any, Assignment]:
        """The unchanged state and an assignment with a newly sampled level for each finished lifetime."""
        keys = jax.random.split(key, finished.shape[0])
        levels = tree.masked_map(self.generator, finished, assignment.levels, keys)
        return state, Assignment(levels=levels, slot=jnp.where(finished, NEW, assignment.slot))

    def metrics(self, state: Any) -> Metrics:
        """No metrics."""
        return {}


class FrozenState(struct.PyTreeNode):
    """The levels of the set, leaves `[L, ...]`; they are in the state so that they are no constants of a compiled
    step."""

    levels: Level


@dataclass(frozen=True, eq=False)
class FrozenSet:
    """Samples levels uniformly and with replacement from a fixed set of L levels; scores are ignored.

    Attributes:
        levels: the set, leaves `[L, ...]`. `init` reads them and puts them into the state. Two `FrozenSet`s are equal
            only if they are the same object (arrays do not hash).

    Raises:
        ValueError: the leaves do not share a leading axis of one level or more; a lifetime below one.

    Paper: the handcrafted sets of LPG (arXiv 2007.08794) and the "number of levels" study of arXiv
    2310.02782.
    """

    levels: Level

    def __post_init__(self) -> None:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(self.levels)]
        if not shapes or any(len(s) == 0 or s[0] == 0 or s[0] != shapes[0][0] for s in shapes):
            raise ValueError(
                "FrozenSet: the levels' leaves must share a leading axis "
                f"(got shapes {shapes}, expected [L, ...] with L >= 1)"
            )
        check_lifetimes(self.levels)

    def init(self, key: Key, num_lifetimes: int) -> tuple[FrozenState, Assignment]:
        """The state with the set, and a level sampled from it for every lifetime."""
        state = FrozenState(levels=jax.tree.map(jnp.asarray, self.levels))
        slot = jnp.full((num_lifetimes,), NEW, jnp.int32)
        return state, Assignment(levels=_sample(key, state, num_lifetimes), slot=slot)

    def exchange(
        self,
        key: Key,
        state: FrozenState,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[FrozenState, Assignment]:
        """The unchanged state and an assignment with a newly sampled level for each finished lifetime."""
        levels = tree.where(finished, _sample(key, state, finished.shape[0]), assignment.levels)
        return state, Assignment(levels=levels, slot=jnp.where(finished, NEW, assignment.slot))

    def metrics(self, state: FrozenState) -> Metrics:
        """No metrics."""
        return {}


def _sample(key: Key, state: FrozenState, num: int) -> Level:
    size = jax.tree.leaves(state.levels)[0].shape[0]
    return tree.take(state.levels, jax.random.randint(key, (num,), 0, size))


class RateBanditState(struct.PyTreeNode):
    """State of the bandit.

    Attributes:
        inner: state of the wrapped curriculum.
        arm: index of each lifetime's arm.
        returns: the last returns of each arm, most recent first; 0 in entries that are not filled.
        count: one plus the number of lifetimes that ended with each arm.
        filled: number of entries of `returns` that are filled.
    """

    inner: Any
    arm: Int[Array, " N"]
    returns: Float[Array, "A W"]
    count: Int[Array, " A"]
    filled: Int[Array, " A"]


@dataclass(frozen=True, kw_only=True)
class RateBandit:
    """Samples each lifetime's learning rates: p(arm) is proportional to exp( (R + rho / sqrt(count)) / tau ).

    R is the mean of the arm's last `window` scores, one for each lifetime that ended (with `LifetimeReward` the scores
    are returns). `curriculum` chooses the levels.

    Attributes:
        curriculum: chooses the levels; it gets the same scores.
        arms: pairs of factors on the agent's learning rates, (policy, prediction).
        bonus: rho, the weight of the exploration bonus, in units of the scores.
        temperature: tau, in units of the scores.
        window: number of returns per arm that are averaged.

    Raises:
        ValueError: no arms, factors that are not positive, a temperature or window that is not positive.

    Paper: arXiv 2007.08794, section 4.1 and appendix (rho = 0.2, tau = 0.1, ten returns).
    Differs: the arms of the paper are a learning rate and alpha_y, the weight of the prediction's loss. Such a weight
        scales the prediction's gradient alone, so that it is a learning rate of the prediction here.
    """

    curriculum: Curriculum
    arms: tuple[tuple[float, float], ...]
    bonus: float = 0.2
    temperature: float = 0.1
    window: int = 10

    def __post_init__(self) -> None:
        if not self.arms or any(len(arm) != 2 or min(arm) <= 0 for arm in self.arms):
            raise ValueError(f"RateBandit: arms must be pairs of positive factors (got {self.arms})")
        if self.temperature <= 0:
            raise ValueError(f"RateBandit: temperature must be positive (got {self.temperature})")
        if self.window < 1:
            raise ValueError(f"RateBandit: window must be at least 1 (got {self.window})")

    def init(self, key: Key, num_lifetimes: int) -> tuple[RateBanditState, Assignment]:
        """The wrapped curriculum's first assignment, with arms drawn uniformly."""
        key_inner, key_arms = jax.random.split(key)
        inner, assignment = self.curriculum.init(key_inner, num_lifetimes)
        state = RateBanditState(
            inner=inner,
            arm=jnp.zeros(num_lifetimes, jnp.int32),
            returns=jnp.zeros((len(self.arms), self.window)),
            count=jnp.ones(len(self.arms), jnp.int32),
            filled=jnp.zeros(len(self.arms), jnp.int32),
        )
        state = state.replace(arm=self._draw(key_arms, state, num_lifetimes))
        return state, self._with_rates(assignment, state.arm)

    def exchange(
        self,
        key: Key,
        state: RateBanditState,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[RateBanditState, Assignment]:
        """Record the finished lifetimes' scores under their arms, exchange their levels, and draw new arms for them.

        Lifetimes whose score is not finite or whose slot is `UNTRACKED` are not recorded.
        """
        key_inner, key_arms = jax.random.split(key)
        without_rates = assignment.replace(levels=assignment.levels.replace(rates=()))
        recorded = finished & jnp.isfinite(scores) & (assignment.slot != UNTRACKED)
        inner, assignment = self.curriculum.exchange(key_inner, state.inner, without_rates, scores, finished)

        def record(state, lifetime):
            arm, score, recorded = lifetime
            row = jnp.roll(state.returns[arm], 1).at[0].set(score)
            arm = jnp.where(recorded, arm, len(self.arms))  # out of bounds: dropped
            return state.replace(
                returns=state.returns.at[arm].set(row, mode="drop"),
                count=state.count.at[arm].add(1, mode="drop"),
                filled=jnp.minimum(state.filled.at[arm].add(1, mode="drop"), self.window),
            ), None

        state, _ = jax.lax.scan(record, state.replace(inner=inner), (state.arm, scores, recorded))
        arm = jnp.where(finished, self._draw(key_arms, state, finished.shape[0]), state.arm)
        return state.replace(arm=arm), self._with_rates(assignment, arm)

    def metrics(self, state: RateBanditState) -> Metrics:
        """The wrapped curriculum's metrics, and `arm_i`, the fraction of the lifetimes that have arm i."""
        fractions = {f"arm_{i}": (state.arm == i).mean() for i in range(len(self.arms))}
        return self.curriculum.metrics(state.inner) | fractions

    def probabilities(self, state: RateBanditState) -> Float[Array, " A"]:
        """Probability of each arm to be drawn next."""
        mean = state.returns.sum(-1) / jnp.maximum(state.filled, 1)
        return jax.nn.softmax((mean + self.bonus / jnp.sqrt(state.count)) / self.temperature)

    def _draw(self, key: Key, state: RateBanditState, num: int) -> Int[Array, " N"]:
        return jax.random.choice(key, len(self.arms), (num,), p=self.probabilities(state)).astype(jnp.int32)

    def _with_rates(self, assignment: Assignment, arm: Int[Array, " N"]) -> Assignment:
        policy, prediction = (jnp.asarray(factors, jnp.float32)[arm] for factors in zip(*self.arms, strict=True))
        rates = Rates(policy=policy, prediction=prediction)
        return assignment.replace(levels=assignment.levels.replace(rates=rates))
