"""Running statistics of what an agent sees and earns, to bring both to order one."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt.types import PyTree


class Moments(struct.PyTreeNode):
    """How many samples there were, and their mean and variance, entry by entry."""

    count: Float[Array, ""]
    mean: Float[Array, "*shape"]
    var: Float[Array, "*shape"]


def merge(moments: Moments, samples: Float[Array, "n *shape"]) -> Moments:
    """The moments of all samples so far and these, without the former.

    With d = mean_b - mean_a:  mean = mean_a + d n_b / n,   n var = n_a var_a + n_b var_b + d^2 n_a n_b / n.

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


def _nothing(shape: tuple[int, ...]) -> Moments:
    """No samples: mean 0 and variance 1 until there are some."""
    return Moments(count=jnp.zeros(()), mean=jnp.zeros(shape), var=jnp.ones(shape))


@dataclass(frozen=True)
class NormaliseObservations:
    """(obs - mean) / std, clipped, with the mean and variance of everything seen in earlier rollouts.

    Entries of an observation have moments of their own; integers (indices) are left alone. In the first rollout
    observations are as they are.

    Attributes:
        clip: normalised entries lie within this of zero; an entry that was constant so far may jump.
        epsilon: added to the variance.

    Raises:
        ValueError: a clip or epsilon that is not positive.

    Differs: luchris429/purejaxrl updates the moments at every step, before the step, and does not clip; here they are
        constant while a rollout is played and learned from, so that it is normalised once and in one way.
    """

    clip: float = 10.0
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("clip", "epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"NormaliseObservations: {name} must be positive (got {getattr(self, name)})")

    def init(self, obs: PyTree) -> PyTree:
        """Moments of no samples, from one observation; `()` in the place of integers."""
        return jax.tree.map(lambda x: _nothing(x.shape) if _real(x) else (), obs)

    def update(self, seen: PyTree, obs: PyTree) -> PyTree:
        """With the observations `[T, B, ...]` of a rollout."""
        return self._map(lambda x, moments: merge(moments, x.reshape(-1, *x.shape[2:])), lambda x: (), obs, seen)

    def __call__(self, seen: PyTree, obs: PyTree) -> PyTree:
        """One observation, normalised."""

        def scaled(x, moments):
            x = (x - moments.mean) * jax.lax.rsqrt(moments.var + self.epsilon)
            return jnp.clip(x, -self.clip, self.clip)

        return self._map(scaled, lambda x: x, obs, seen)

    def _map(self, real: Any, other: Any, obs: PyTree, seen: PyTree) -> PyTree:
        return jax.tree.map(lambda x, moments: real(x, moments) if _real(x) else other(x), obs, seen)


class Earnings(struct.PyTreeNode):
    """Moments of the discounted returns so far, and each player's return up to now `[B]`."""

    moments: Moments
    total: Float[Array, " B"]


@dataclass(frozen=True)
class ScaleRewards:
    """r / std of the discounted returns so far, those of this rollout included, clipped; the mean stays.

    The return up to a step is R_t = r_t + gamma R_{t-1}, with R = 0 before an episode's first step.

    Attributes:
        gamma: discount factor in [0, 1]; the objective's.
        clip: scaled rewards lie within this of zero; returns that have all been the same have no deviation.
        epsilon: added to the variance.

    Raises:
        ValueError: gamma outside [0, 1], or a clip or epsilon that is not positive.

    Differs: luchris429/purejaxrl updates the moments at every step, forgets an episode's return at its last step, not
        after it, and does not clip.
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

    def init(self, num_envs: int) -> Earnings:
        """Nothing earned yet."""
        return Earnings(moments=_nothing(()), total=jnp.zeros(num_envs))

    def __call__(
        self, earnings: Earnings, reward: Float[Array, "T B"], last: Bool[Array, "T B"]
    ) -> tuple[Float[Array, "T B"], Earnings]:
        """Scaled rewards, and the statistics with this rollout."""

        def body(total, x):
            reward, last = x
            total = reward + self.gamma * total
            return jnp.where(last, 0.0, total), total

        total, returns = jax.lax.scan(body, earnings.total, (reward, last))
        moments = merge(earnings.moments, returns.ravel())
        scaled = reward * jax.lax.rsqrt(moments.var + self.epsilon)
        return jnp.clip(scaled, -self.clip, self.clip), Earnings(moments=moments, total=total)


def _real(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))
