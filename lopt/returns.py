"""Returns and advantages over a trajectory `[T, ...]`; trailing axes are batch axes.

The functions take the environment's `discount` (0 where the episode terminated) and `truncated` separately. At a
termination the return ends. At a truncation it is bootstrapped from `next_value`, the value of the observation before
the reset.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def gae(
    reward: Float[Array, " T *b"],
    discount: Float[Array, " T *b"],
    truncated: Bool[Array, " T *b"],
    value: Float[Array, " T *b"],
    next_value: Float[Array, " T *b"],
    *,
    gamma: float | Float[Array, ""],
    lam: float | Float[Array, ""],
) -> Float[Array, " T *b"]:
    """Generalised advantage estimates GAE(gamma, lam), as one reverse scan.

        delta_t = r_t + gamma d_t V(s'_t) - V(s_t)
        A_t = delta_t + gamma lam (1 - last_t) A_{t+1},   with A_{T+1} = 0

    Args:
        reward: r_t.
        discount: d_t, 0 where the episode terminated, else 1.
        truncated: where a time limit ended the episode; last_t is true there and where d_t = 0.
        value: V(s_t).
        next_value: V(s'_t), at the observation before any reset.
        gamma: discount factor.
        lam: GAE's lambda.

    Paper: arXiv 1506.02438, eq. 16.
    """
    delta = reward + gamma * discount * next_value - value
    keep = jnp.where(truncated, 0.0, discount) * (gamma * lam)

    def body(advantage, x):
        delta, keep = x
        advantage = delta + keep * advantage
        return advantage, advantage

    return jax.lax.scan(body, jnp.zeros_like(delta[0]), (delta, keep), reverse=True)[1]


def retrace(
    reward: Float[Array, " T *b"],
    discount: Float[Array, " T *b"],
    truncated: Bool[Array, " T *b"],
    action_value: Float[Array, " T *b"],
    next_value: Float[Array, " T *b"],
    trace: Float[Array, " T *b"],
    *,
    gamma: float,
) -> Float[Array, " T *b"]:
    """Retrace returns with expected values, as one reverse scan.

        G_t = r_t + gamma d_t V(s'_t) + gamma d_t (1 - last_t) c_{t+1} (G_{t+1} - Q(s_{t+1}, a_{t+1}))

    The last term is zero at the end of the trajectory.

    Args:
        reward: r_t.
        discount: d_t, 0 where the episode terminated, else 1.
        truncated: where a time limit ended the episode; last_t is true there and where d_t = 0.
        action_value: Q(s_t, a_t), of the action taken.
        next_value: V(s'_t) = sum_a pi(a | s'_t) Q(s'_t, a), at the observation before any reset.
        trace: c_t, which is lambda min(1, pi(a_t | s_t) / mu(a_t | s_t)) with the behaviour policy mu.
        gamma: discount factor.

    Paper: arXiv 1606.02647, eq. 4 (the operator R, with expectations in the place of Q(s_{t+1}, a_{t+1})).
    """
    keep = jnp.where(truncated, 0.0, discount)

    def body(following, x):
        reward, discount, keep, action_value, next_value, trace = x
        total = reward + gamma * (discount * next_value + keep * following)
        return trace * (total - action_value), total

    xs = (reward, discount, keep, action_value, next_value, trace)
    return jax.lax.scan(body, jnp.zeros_like(next_value[0]), xs, reverse=True)[1]


def discounted_returns(
    reward: Float[Array, " T *b"],
    discount: Float[Array, " T *b"],
    truncated: Bool[Array, " T *b"],
    next_value: Float[Array, " T *b"],
    *,
    gamma: float,
) -> Float[Array, " T *b"]:
    """Discounted returns G_t = r_t + gamma d_t G_{t+1}.

    G_{t+1} is replaced by `next_value` at truncations and at the end of the trajectory. The arguments are those of
    `gae`.
    """

    def body(following, x):
        reward, discount, truncated, next_value = x
        total = reward + gamma * discount * jnp.where(truncated, next_value, following)
        return total, total

    xs = (reward, discount, truncated, next_value)
    return jax.lax.scan(body, next_value[-1], xs, reverse=True)[1]


def running_returns(
    reward: Float[Array, " T *b"], last: Bool[Array, " T *b"], initial: Float[Array, "*b"]
) -> tuple[Float[Array, "*b"], Float[Array, " T *b"]]:
    """Undiscounted return of the current episode up to and including each step.

    Args:
        reward: r_t.
        last: where an episode ended.
        initial: return before the first step of the episodes in progress.

    Returns:
        The returns so far of the episodes in progress after the last step, `[...]`, and the sums `[T, ...]`; where
        `last`, a sum is the return of a complete episode.
    """

    def body(total, x):
        reward, last = x
        total = total + reward
        return jnp.where(last, 0.0, total), total

    return jax.lax.scan(body, initial, (reward, last))


def normalise(x: Float[Array, "*b"], epsilon: float = 1e-8) -> Float[Array, "*b"]:
    """`x` shifted and scaled to zero mean and unit standard deviation over all entries."""
    return (x - x.mean()) / (x.std() + epsilon)
