"""Which learning rates a lifetime gets: a bandit over a few of them, beside any curriculum of levels."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt.protocols import Curriculum
from lopt.types import UNTRACKED, Assignment, Key, Metrics, Rates


class RateBanditState(struct.PyTreeNode):
    """The curriculum's own memory; each lifetime's arm `[N]`; the last returns `[arms, window]`, 0 before there are
    any, how many lives each arm has had, plus one, and how many of its returns are remembered."""

    inner: Any
    arm: Int[Array, " N"]
    returns: Float[Array, "A W"]
    count: Int[Array, " A"]
    filled: Int[Array, " A"]


@dataclass(frozen=True)
class RateBandit:
    """Lifetimes draw their learning rates: p(arm) is proportional to exp( (R + bonus / sqrt(count)) / temperature ).

    R is the mean of the arm's last `window` scores, one per life that ended (`LifetimeReward` for returns). This
    balances the arms, and with them the gradients of agents that learn fast and slowly. Levels come from `curriculum`.

    Attributes:
        curriculum: decides the levels; it is told the same scores.
        arms: factors on the agent's learning rates, (policy, prediction) each.
        bonus: rho.
        temperature: tau.
        window: returns remembered per arm.

    Raises:
        ValueError: no arms, factors that are not positive, a temperature or window that is not positive.

    Paper: arXiv 2007.08794, section 4.1 and appendix (rho = 0.2, tau = 0.1, ten returns).
    Differs: the arms of the paper are a learning rate and alpha_y. A weight of the prediction's loss scales the
        prediction's gradient and nothing else, so it is a rate of the prediction here.
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
        """Arms drawn evenly."""
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
        """Remember how the finished lives did under their arms, and draw arms for those that follow."""
        key_inner, key_arms = jax.random.split(key)
        plain = assignment.replace(levels=assignment.levels.replace(rates=()))
        recorded = finished & jnp.isfinite(scores) & (assignment.slot != UNTRACKED)
        inner, assignment = self.curriculum.exchange(key_inner, state.inner, plain, scores, finished)

        def record(state, life):
            arm, score, recorded = life
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
        """The curriculum's own, and how many of the lifetimes have each arm."""
        share = {f"arm_{i}": (state.arm == i).mean() for i in range(len(self.arms))}
        return self.curriculum.metrics(state.inner) | share

    def probabilities(self, state: RateBanditState) -> Float[Array, " A"]:
        """How likely each arm is drawn next."""
        mean = state.returns.sum(-1) / jnp.maximum(state.filled, 1)
        return jax.nn.softmax((mean + self.bonus / jnp.sqrt(state.count)) / self.temperature)

    def _draw(self, key: Key, state: RateBanditState, num: int) -> Int[Array, " N"]:
        return jax.random.choice(key, len(self.arms), (num,), p=self.probabilities(state)).astype(jnp.int32)

    def _with_rates(self, assignment: Assignment, arm: Int[Array, " N"]) -> Assignment:
        policy, prediction = (jnp.asarray(factors, jnp.float32)[arm] for factors in zip(*self.arms, strict=True))
        rates = Rates(policy=policy, prediction=prediction)
        return assignment.replace(levels=assignment.levels.replace(rates=rates))
