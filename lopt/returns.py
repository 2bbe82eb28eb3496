"""Returns and advantages over a trajectory, time first; trailing axes are batch.

All of them take the environment's `discount` (0 where the episode terminated) and `truncated` apart: a termination
ends the sum, a truncation ends the trajectory but not the future, which is bootstrapped from `next_value`, the value
of the observation before the reset.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def gae(
    reward: Float[Array, "T *b"],
    discount: Float[Array, "T *b"],
    truncated: Bool[Array, "T *b"],
    value: Float[Array, "T *b"],
    next_value: Float[Array, "T *b"],
    *,
    gamma: float,
    lam: float,
) -> Float[Array, "T *b"]:
    """Generalised advantage estimates, as one reverse scan.

    delta_t = r_t + gamma d_t V(s'_t) - V(s_t),   A_t = delta_t + gamma lam (1 - last_t) A_{t+1},   A_T = 0 beyond.

    Paper: arXiv 1506.02438, eq. 16.
    """
    delta = reward + gamma * discount * next_value - value
    keep = jnp.where(truncated, 0.0, discount) * (gamma * lam)

    def body(advantage, x):
        delta, keep = x
        advantage = delta + keep * advantage
        return advantage, advantage

    return jax.lax.scan(body, jnp.zeros_like(delta[0]), (delta, keep), reverse=True)[1]


def discounted_returns(
    reward: Float[Array, "T *b"],
    discount: Float[Array, "T *b"],
    truncated: Bool[Array, "T *b"],
    next_value: Float[Array, "T *b"],
    *,
    gamma: float,
) -> Float[Array, "T *b"]:
    """G_t = r_t + gamma d_t G_{t+1}, bootstrapped from `next_value` at truncations and at the end."""

    def body(following, x):
        reward, discount, truncated, next_value = x
        total = reward + gamma * discount * jnp.where(truncated, next_value, following)
        return total, total

    xs = (reward, discount, truncated, next_value)
    return jax.lax.scan(body, next_value[-1], xs, reverse=True)[1]


def running_returns(
    reward: Float[Array, "T *b"], last: Bool[Array, "T *b"], start: Float[Array, "*b"]
) -> tuple[Float[Array, "*b"], Float[Array, "T *b"]]:
    """Undiscounted return of the episode up to and including each step; `start` is what was earned before.

    Returns the sums of the episodes still open at the end, and the sums `[T, ...]` (where `last`, an episode's return).
    """

    def body(total, x):
        reward, last = x
        total = total + reward
        return jnp.where(last, 0.0, total), total

    return jax.lax.scan(body, start, (reward, last))


def normalise(x: Float[Array, "*b"], epsilon: float = 1e-8) -> Float[Array, "*b"]:
    """Zero mean and unit standard deviation over all entries."""
    return (x - x.mean()) / (x.std() + epsilon)
