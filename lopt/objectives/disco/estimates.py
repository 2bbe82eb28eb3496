"""Value estimates of a batch of trajectories: action values of two networks, Retrace returns and advantages."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt import policies, returns
from lopt.objectives.disco.records import DiscoInputs, take_action
from lopt.objectives.disco.values import ValueBins


class ValueEstimates(struct.PyTreeNode):
    """Value estimates, constants for differentiation.

    Attributes:
        value: V(s_t) = sum_a pi(a | s_t) Q(s_t, a).
        value_next: V(s'_t).
        target_q: Q^-(s_t, .) of the target network.
        target_value: V^-(s_t), with the agent's own policy and the target network's Q^-.
        returns: Retrace returns G_t of the target network's values.
    """

    value: Float[Array, "T B"]
    value_next: Float[Array, "T B"]
    target_q: Float[Array, "T B A"]
    target_value: Float[Array, "T B"]
    returns: Float[Array, "T B"]

    @property
    def advantage(self) -> Float[Array, "T B"]:
        """G_t - V^-(s_t)."""
        return self.returns - self.target_value

    @property
    def action_advantage(self) -> Float[Array, "T B A"]:
        """Q^-(s_t, a) - V^-(s_t)."""
        return self.target_q - self.target_value[..., None]


def estimate_values(inputs: DiscoInputs, bins: ValueBins, gamma: float, lam: float) -> ValueEstimates:
    """Value estimates of a batch, with the traces c_t = lam min(1, pi(a_t | s_t) / mu(a_t | s_t))."""
    inputs = jax.lax.stop_gradient(inputs)
    traj, out, target = inputs.traj, inputs.out, inputs.target
    pi, pi_next = jax.nn.softmax(out.policy), jax.nn.softmax(inputs.out_next.policy)
    target_q = bins.value(target.q)
    log_ratio = policies.log_prob(out.policy, traj.action) - policies.log_prob(inputs.behaviour, traj.action)
    retrace = returns.retrace(
        traj.reward,
        traj.discount,
        traj.truncated,
        take_action(target_q, traj.action),
        (pi_next * bins.value(inputs.target_next.q)).sum(-1),
        lam * jnp.exp(jnp.minimum(log_ratio, 0.0)),
        gamma=gamma,
    )
    return ValueEstimates(
        value=(pi * bins.value(out.q)).sum(-1),
        value_next=(pi_next * bins.value(inputs.out_next.q)).sum(-1),
        target_q=target_q,
        target_value=(pi * target_q).sum(-1),
        returns=retrace,
    )
