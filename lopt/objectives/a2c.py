"""Advantage actor-critic (A2C) in the form of the `Objective` protocol."""

import math
from dataclasses import dataclass

import jax
from flax import struct
from jaxtyping import Array, Float

from lopt import policies, returns
from lopt.types import AgentOutput, Key, Metrics, Progress, Theta, Trajectory


class A2CTargets(struct.PyTreeNode):
    """Advantages A_t, the weights of log pi(a_t), and value targets V_target."""

    advantage: Float[Array, "T B"]
    value: Float[Array, "T B"]


@dataclass(frozen=True, kw_only=True)
class A2C:
    """Advantage actor-critic; the agent's prediction, of width one, is the value function V.

        L = - mean[ log pi(a) A ] - entropy_weight mean[ H(pi) ] + value_weight mean[ (V - V_target)^2 ]

    with GAE(gamma, lam) advantages A and V_target = A + V, from advantages before their normalisation.

    Attributes:
        gamma: discount factor in [0, 1].
        lam: GAE's lambda in [0, 1].
        entropy_weight: weight of the entropy in nats.
        value_weight: weight of the value loss; with separate optimizers for policy and value (`Agent`) it only scales
            the value's gradient.
        normalise: whether advantages in the policy loss are normalised over the rollout.

    Raises:
        ValueError: gamma or lam outside [0, 1], or a weight that is not finite.

    Paper: arXiv 1602.01783, section 4 (synchronous form); GAE arXiv 1506.02438.
    """

    gamma: float = 0.99
    lam: float = 0.95
    entropy_weight: float = 0.01
    value_weight: float = 1.0
    normalise: bool = True

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"A2C: {name} must be in [0, 1] (got {getattr(self, name)})")
        for name in ("entropy_weight", "value_weight"):
            if not abs(getattr(self, name)) < math.inf:
                raise ValueError(f"A2C: {name} must be finite (got {getattr(self, name)})")

    @property
    def prediction_size(self) -> int:
        """1, for the value V."""
        return 1

    def init(self, key: Key) -> Theta:
        """`()`: A2C has no meta-parameters."""
        return ()

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> A2CTargets:
        """Advantages and value targets, constant for a meta-gradient too."""
        value, value_next = jax.lax.stop_gradient((out.prediction[..., 0], out_next.prediction[..., 0]))
        advantage = returns.gae(
            traj.reward, traj.discount, traj.truncated, value, value_next, gamma=self.gamma, lam=self.lam
        )
        target = advantage + value
        if self.normalise:
            advantage = returns.normalise(advantage)
        return A2CTargets(advantage=advantage, value=target)

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: A2CTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """L, and the mean squared error of V as metric "critic_loss"."""
        policy = -(policies.log_prob(out.policy, traj.action) * targets.advantage).mean()
        entropy = policies.entropy(out.policy).mean()
        value_loss = ((out.prediction[..., 0] - targets.value) ** 2).mean()
        loss = policy - self.entropy_weight * entropy + self.value_weight * value_loss
        return loss, {"critic_loss": value_loss}
