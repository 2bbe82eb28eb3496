"""Advantage actor-critic, in the same form as the learned objectives."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt import policies, returns
from lopt.types import AgentOutput, Key, Metrics, Progress, Theta, Trajectory


class A2CTargets(struct.PyTreeNode):
    """Advantages that weigh log pi(a), and value targets; `[T, B]`."""

    advantage: Float[Array, "T B"]
    value: Float[Array, "T B"]


@dataclass(frozen=True)
class A2C:
    """Advantage actor-critic; the prediction head of width one is the value function V.

        - mean[ log pi(a) A ] - entropy_weight H(pi) + value_weight mean[ (V - V_target)^2 ]

    with GAE(gamma, lam) advantages A, normalised over the batch, and V_target = A + V.

    Attributes:
        gamma: discount factor in [0, 1].
        lam: GAE's lambda in [0, 1].
        entropy_weight, value_weight: loss weights. With separate networks and optimizers for the heads the latter
            only scales the value head's gradient.
        normalise: whether advantages are normalised over the batch.
        mean_advantage: compatibility with EmptyJackson/groove (defect G2): every step of a rollout gets the
            rollout's mean advantage, which is what its (T, 1) times (T,) product amounts to.

    Raises:
        ValueError: gamma or lam outside [0, 1], or a weight that is not finite.

    Paper: arXiv 1602.01783, section 4 (synchronous form); GAE arXiv 1506.02438.
    """

    gamma: float = 0.99
    lam: float = 0.95
    entropy_weight: float = 0.01
    value_weight: float = 1.0
    normalise: bool = True
    mean_advantage: bool = False

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"A2C: {name} must be in [0, 1] (got {getattr(self, name)})")
        for name in ("entropy_weight", "value_weight"):
            if not abs(getattr(self, name)) < math.inf:
                raise ValueError(f"A2C: {name} must be finite (got {getattr(self, name)})")

    @property
    def prediction_size(self) -> int:
        """One: the value."""
        return 1

    def init(self, key: Key) -> Theta:
        """A2C has no meta-parameters."""
        return ()

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> A2CTargets:
        """Advantages and value targets `[T, B]`."""
        value, value_next = jax.lax.stop_gradient((out.prediction[..., 0], out_next.prediction[..., 0]))
        advantage = returns.gae(
            traj.reward, traj.discount, traj.truncated, value, value_next, gamma=self.gamma, lam=self.lam
        )
        target = advantage + value
        if self.normalise:
            advantage = returns.normalise(advantage)
        if self.mean_advantage:
            advantage = jnp.broadcast_to(advantage.mean(0, keepdims=True), advantage.shape)
        return A2CTargets(advantage=advantage, value=target)

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: A2CTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """The agent's loss, and the value's squared error."""
        policy = -(policies.log_prob(out.policy, traj.action) * targets.advantage).mean()
        entropy = policies.entropy(out.policy).mean()
        value_loss = ((out.prediction[..., 0] - targets.value) ** 2).mean()
        loss = policy - self.entropy_weight * entropy + self.value_weight * value_loss
        return loss, {"critic_loss": value_loss}
