"""Records of DiscoRL: an agent's outputs, what the rule reads, its targets and its state.

They hold categorical values (distributions over bins of a transformed value), exponential moving moments with a
correction of their initial bias, and value estimates (action values of two networks, Retrace returns and advantages).
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt import policies, returns
from lopt.types import Trajectory

EPSILON = 1e-3
"""The linear part of the transform of values."""


def signed_log(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def signed_hyperbolic(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, with epsilon 1e-3.

    Paper: arXiv 1805.11593, proposition A.2.
    """
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + EPSILON * x


def signed_parabolic(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The inverse of `signed_hyperbolic`: sign(x) (z^2 - 1), with

    z = sqrt(1 + 4 epsilon (epsilon + 1 + |x|)) / (2 epsilon) - 1 / (2 epsilon).
    """
    z = jnp.sqrt(1 + 4 * EPSILON * (EPSILON + 1 + jnp.abs(x))) / (2 * EPSILON) - 1 / (2 * EPSILON)
    return jnp.sign(x) * (z**2 - 1)


@dataclass(frozen=True)
class ValueBins:
    """Values as categorical distributions over Q evenly spaced bins of the transformed value h(x).

    Attributes:
        number: Q, an odd number, so that zero is a bin.
        limit: the outermost bins are at h(x) = -limit and +limit.

    Raises:
        ValueError: an even number of bins or fewer than three, or a limit that is not positive and finite.
    """

    number: int = 601
    limit: float = 300.0

    def __post_init__(self) -> None:
        if self.number < 3 or self.number % 2 == 0:
            raise ValueError(f"ValueBins: number must be odd and at least 3 (got {self.number})")
        if not 0 < self.limit < math.inf:
            raise ValueError(f"ValueBins: limit must be positive and finite (got {self.limit})")

    def value(self, logits: Float[Array, "*b Q"]) -> Float[Array, "*b"]:
        """The value of a distribution: h^{-1}(sum_k p_k b_k), b_k the bins."""
        return signed_parabolic(jax.nn.softmax(logits) @ jnp.linspace(-self.limit, self.limit, self.number))

    def two_hot(self, value: Float[Array, "*b"]) -> Float[Array, "*b Q"]:
        """The distribution on the two bins next to h(value), whose mean is h(value) up to 1e-5.

        Differs: DiscoRL's lower weight is (upper - h) / (upper - lower + 1e-5), which this reproduces.
        """
        position = jnp.clip(signed_hyperbolic(value), -self.limit, self.limit)
        position = (position + self.limit) * ((self.number - 1) / (2 * self.limit))
        lower, upper = jnp.floor(position), jnp.ceil(position)
        width = 2 * self.limit / (self.number - 1)
        low = (upper - position) * width / ((upper - lower) * width + 1e-5)
        at_lower = jax.nn.one_hot(lower.astype(jnp.int32), self.number) * low[..., None]
        return at_lower + jax.nn.one_hot(upper.astype(jnp.int32), self.number) * (1 - low)[..., None]

    def cross_entropy(self, value: Float[Array, "*b"], logits: Float[Array, "*b Q"]) -> Float[Array, "*b"]:
        """Cross-entropy of the two-hot distribution of `value` and that of the logits, in nats."""
        return -(self.two_hot(value) * jax.nn.log_softmax(logits)).sum(-1)


class DebiasedMoments(struct.PyTreeNode):
    """Exponential moving averages of x and x^2, corrected for their start at zero as Adam's moments are.

        m1 <- beta m1 + (1 - beta) mean(x)
        m2 <- beta m2 + (1 - beta) mean(x^2)
        decay_product <- beta decay_product

    The mean is m1 / (1 - decay_product), the variance max(0, m2 / (1 - decay_product) - mean^2). After one update both
    are those of its batch.

    Attributes:
        m1: average of x.
        m2: average of x^2.
        decay_product: the product of the decays; 1 before the first update.

    Paper: the running statistics of DiscoRL (Nature 2025), with beta 0.99.
    """

    m1: Float[Array, "*n"]
    m2: Float[Array, "*n"]
    decay_product: Float[Array, "*n"]

    @classmethod
    def zeros(cls) -> "DebiasedMoments":
        """The moments before the first update."""
        return cls(m1=jnp.zeros(()), m2=jnp.zeros(()), decay_product=jnp.ones(()))

    def update(self, x: Float[Array, "*b"], decay: float) -> "DebiasedMoments":
        """The moments with a batch added; they are constants for differentiation."""
        x = jax.lax.stop_gradient(x)
        return DebiasedMoments(
            m1=decay * self.m1 + (1 - decay) * x.mean(),
            m2=decay * self.m2 + (1 - decay) * (x**2).mean(),
            decay_product=decay * self.decay_product,
        )

    def normalise(self, x: Float[Array, "*b"], *, centre: bool = True) -> Float[Array, "*b"]:
        """(x - mean) / (sqrt(variance + 1e-12) + 1e-6), without the mean if not `centre`; after at least one update."""
        weight = 1 - self.decay_product
        mean = self.m1 / weight
        variance = jnp.maximum(0.0, self.m2 / weight - mean**2)
        return (x - mean if centre else x) / (jnp.sqrt(variance + 1e-12) + 1e-6)


class DiscoOutput(struct.PyTreeNode):
    """Outputs of an agent for observations, all of them logits.

    Attributes:
        policy: of the policy pi.
        y: prediction of the state, whose meaning the rule learns.
        z: the same for every action.
        aux_policy: of the policy one step later, after every action.
        q: categorical action values (`ValueBins`).
    """

    policy: Float[Array, "*tb A"]
    y: Float[Array, "*tb M"]
    z: Float[Array, "*tb A M"]
    aux_policy: Float[Array, "*tb A A"]
    q: Float[Array, "*tb A Q"]


class DiscoInputs(struct.PyTreeNode):
    """What the rule reads for one update: a batch of trajectories and the outputs of two networks on them.

    Attributes:
        traj: trajectories `[T, B, ...]`.
        behaviour: logits of the policy that took the actions.
        out: outputs of the agent on `traj.obs`.
        out_next: the same on `traj.next_obs`.
        target: outputs of the agent with the target parameters on `traj.obs`.
        target_next: the same on `traj.next_obs`.
    """

    traj: Trajectory
    behaviour: Float[Array, "T B A"]
    out: DiscoOutput
    out_next: DiscoOutput
    target: DiscoOutput
    target_next: DiscoOutput


class DiscoTargets(struct.PyTreeNode):
    """Targets of an agent's outputs, `[T, B, ...]`.

    Attributes:
        policy: pi_hat, logits.
        y: y_hat, logits.
        z: z_hat, logits; of the action taken.
        value: the Retrace return G_t.
    """

    policy: Float[Array, "T B A"]
    y: Float[Array, "T B M"]
    z: Float[Array, "T B M"]
    value: Float[Array, "T B"]


class DiscoState(struct.PyTreeNode):
    """The rule's state in one lifetime.

    Attributes:
        hidden: h of the lifetime LSTM.
        cell: c of the lifetime LSTM.
        advantage: moments of the advantages.
        target_params: a slow average of the agent's parameters.
    """

    hidden: Float[Array, " G"]
    cell: Float[Array, " G"]
    advantage: DebiasedMoments
    target_params: Any


def take_action(x: Float[Array, "T B A *n"], action: jax.Array) -> Float[Array, "T B *n"]:
    """x[t, b, a_tb], as a masked sum over the actions."""
    chosen = jax.nn.one_hot(action, x.shape[2], dtype=x.dtype)
    return (x * chosen.reshape(*chosen.shape, *(1,) * (x.ndim - 3))).sum(2)


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
