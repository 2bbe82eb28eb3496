"""Normalisation of observations and rewards by running statistics."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt.types import PyTree


class Moments(struct.PyTreeNode):
    """Number of samples, and their entry-wise mean and (biased) variance."""

    count: Float[Array, ""]
    mean: Float[Array, "*shape"]
    var: Float[Array, "*shape"]


def merge(moments: Moments, samples: Float[Array, " n *shape"]) -> Moments:
    """The moments of the union of earlier samples (a), given by their moments, and new ones (b).

    With n = n_a + n_b and d = mean_b - mean_a:

        mean = mean_a + d n_b / n
        n var = n_a var_a + n_b var_b + d^2 n_a n_b / n

    Paper: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    num, mean, var = samples.shape[0], samples.mean(0), samples.var(0)
    count = moments.count + num
    old, new = moments.count / count, num / count
    delta = mean - moments.mean
    return Moments(
        count=count,
        mean=moments.mean + delta * new,
        var=old * moments.var + new * var + delta**2 * old * new,
    )


def _initial_moments(shape: tuple[int, ...]) -> Moments:
    """Moments of no samples: count 0, mean 0 and variance 1."""
    return Moments(count=jnp.zeros(()), mean=jnp.zeros(shape), var=jnp.ones(shape))


@dataclass(frozen=True)
class NormaliseObservations:
    """Entry-wise clip((obs - mean) / sqrt(var + epsilon), -clip, clip), with the moments of all earlier rollouts.

    Integer entries (indices) are unchanged. In the first rollout mean is 0 and var is 1.

    Attributes:
        clip: bound on the absolute value of normalised entries; it matters where an entry was constant before.
        epsilon: added to the variance.

    Raises:
        ValueError: a clip or epsilon that is not positive.

    Differs: luchris429/purejaxrl updates the moments at every step, before the step, and does not clip. Here they are
        constant during a rollout and the updates on it, so that each rollout is normalised once.
    """

    clip: float = 10.0
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("clip", "epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"NormaliseObservations: {name} must be positive (got {getattr(self, name)})")

    def init(self, obs: PyTree) -> PyTree:
        """Initial moments for the leaves of one observation; `()` for integer leaves."""
        return jax.tree.map(lambda x: _initial_moments(x.shape) if _real(x) else (), obs)

    def update(self, moments: PyTree, obs: PyTree) -> PyTree:
        """The moments with the observations `[T, B, ...]` of a rollout added."""
        return self._map(lambda x, moments: merge(moments, x.reshape(-1, *x.shape[2:])), lambda x: (), obs, moments)

    def __call__(self, moments: PyTree, obs: PyTree) -> PyTree:
        """Normalise one observation."""

        def normalised(x, moments):
            x = (x - moments.mean) * jax.lax.rsqrt(moments.var + self.epsilon)
            return jnp.clip(x, -self.clip, self.clip)

        return self._map(normalised, lambda x: x, obs, moments)

    def _map(self, real: Any, other: Any, obs: PyTree, moments: PyTree) -> PyTree:
        return jax.tree.map(lambda x, moments: real(x, moments) if _real(x) else other(x), obs, moments)


class RewardScaling(struct.PyTreeNode):
    """State of `ScaleRewards`: moments of the discounted returns, and R_t in each environment at the last step."""

    moments: Moments
    total: Float[Array, " B"]


@dataclass(frozen=True, kw_only=True)
class ScaleRewards:
    """Rewards divided by the standard deviation of discounted returns: clip(r / sqrt(var[R] + epsilon), -clip, clip).

    R_t = r_t + gamma R_{t-1}, with R = 0 before an episode's first step. The variance is over all steps so far,
    including those of the rollout that is scaled. Rewards are not centred.

    Attributes:
        gamma: discount factor in [0, 1]; the objective's.
        clip: bound on the absolute value of scaled rewards; it matters where all returns were equal.
        epsilon: added to the variance.

    Raises:
        ValueError: gamma outside [0, 1], or a clip or epsilon that is not positive.

    Differs: luchris429/purejaxrl updates the moments at every step, resets R at an episode's last step, not after it,
        and does not clip.
    """

    gamma: float = 0.99
    clip: float = 10.0
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"ScaleRewards: gamma must be in [0, 1] (got {self.gamma})")
        for name in ("clip", "epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"ScaleRewards: {name} must be positive (got {getattr(self, name)})")

    def init(self, num_envs: int) -> RewardScaling:
        """Initial state for B environments."""
        return RewardScaling(moments=_initial_moments(()), total=jnp.zeros(num_envs))

    def __call__(
        self, reward_scaling: RewardScaling, reward: Float[Array, "T B"], last: Bool[Array, "T B"]
    ) -> tuple[Float[Array, "T B"], RewardScaling]:
        """The scaled rewards of a rollout, and the state with the rollout added.

        Args:
            reward_scaling: the state.
            reward: r_t.
            last: where an episode ended.
        """

        def body(total, x):
            reward, last = x
            total = reward + self.gamma * total
            return jnp.where(last, 0.0, total), total

        total, returns = jax.lax.scan(body, reward_scaling.total, (reward, last))
        moments = merge(reward_scaling.moments, returns.ravel())
        scaled = reward * jax.lax.rsqrt(moments.var + self.epsilon)
        return jnp.clip(scaled, -self.clip, self.clip), RewardScaling(moments=moments, total=total)


def _real(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))
