"""Proximal policy optimisation with any drift: PPO, DPO, LPO and TA-LPO in one form."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lopt import policies, returns
from lopt.objectives.drift import Clip, Drift
from lopt.objectives.ppo_loss import bind_drift, bounded_log_ratio, ppo_loss
from lopt.types import AgentOutput, Key, Metrics, Progress, Theta, Trajectory


class PPOTargets(struct.PyTreeNode):
    """What was the case when the trajectory was played, `[T, B]`: advantages, value targets, values and log pi(a)."""

    advantage: Float[Array, "T B"]
    value: Float[Array, "T B"]
    old_value: Float[Array, "T B"]
    old_log_prob: Float[Array, "T B"]


@dataclass(frozen=True)
class PPO:
    """Mirror learning from one rollout; the prediction head of width one is the value function V.

        - mean[ r A - f(r, A) ] - entropy_weight H(pi) + value_weight mean[ (V - V*)^2 / 2 ]

    with r = pi(a) / pi_old(a), GAE(gamma, lam) advantages A, normalised over the batch that `loss` is given (a
    minibatch in PPO's epochs), and V* = A + V_old before that. With `value_clip` the squared error is

        max((V - V*)^2, (V_clip - V*)^2),   V_clip = V_old + clip(V - V_old, -value_clip, value_clip).

        PPO()                          proximal policy optimisation
        PPO(DPO())                     discovered policy optimisation
        PPO(LPO(floor=Clip()))         learned policy optimisation; theta = 0 is PPO
        PPO(TALPO(floor=Clip()))       the same, told where the learner is in its lifetime

    Attributes:
        drift: f, with its meta-parameters.
        gamma: discount factor in [0, 1].
        lam: GAE's lambda in [0, 1].
        entropy_weight, value_weight: loss weights.
        value_clip: how far V may go from V_old before moving it further earns nothing, in units of the return; None
            for no bound. Only for rewards that are normalised: where returns reach tens, a bound of 0.2 keeps the
            critic from learning them (on CartPole PPO falls from 417 to 254 after 10,240 steps).
        normalise: whether advantages are normalised; with it the loss of a batch is not the mean of its parts' losses.

    Raises:
        ValueError: gamma or lam outside [0, 1], a weight that is not finite, or a value_clip that is not positive.

    Paper: arXiv 1707.06347, eq. 9; arXiv 2210.05639; the defaults are those of luchris429/purejaxrl.
    Differs: purejaxrl bounds V by 0.2 whatever the scale of the rewards; LPO's code does not.
    """

    drift: Drift = Clip()
    gamma: float = 0.99
    lam: float = 0.95
    entropy_weight: float = 0.0
    value_weight: float = 0.5
    value_clip: float | None = None
    normalise: bool = True

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"PPO: {name} must be in [0, 1] (got {getattr(self, name)})")
        for name in ("entropy_weight", "value_weight"):
            if not abs(getattr(self, name)) < math.inf:
                raise ValueError(f"PPO: {name} must be finite (got {getattr(self, name)})")
        if self.value_clip is not None and not self.value_clip > 0:
            raise ValueError(f"PPO: value_clip must be positive, or None (got {self.value_clip})")

    @property
    def prediction_size(self) -> int:
        """One: the value."""
        return 1

    def init(self, key: Key) -> Theta:
        """The drift's meta-parameters."""
        return self.drift.init(key)

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> PPOTargets:
        """Advantages, value targets, and what the agent said before the update; constants, `[T, B]`."""
        out, value_next = jax.lax.stop_gradient((out, out_next.prediction[..., 0]))
        value = out.prediction[..., 0]
        advantage = returns.gae(
            traj.reward, traj.discount, traj.truncated, value, value_next, gamma=self.gamma, lam=self.lam
        )
        return PPOTargets(
            advantage=advantage,
            value=advantage + value,
            old_value=value,
            old_log_prob=policies.log_prob(out.policy, traj.action),
        )

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: PPOTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """The agent's loss, its parts, and the mean of r - 1 - log r, an estimate of KL(pi_old || pi)."""
        advantage = returns.normalise(targets.advantage) if self.normalise else targets.advantage
        log_prob = policies.log_prob(out.policy, traj.action)
        policy = ppo_loss(log_prob, targets.old_log_prob, advantage, bind_drift(self.drift, theta, progress))
        entropy = policies.entropy(out.policy).mean()
        value_loss = self._value_loss(out.prediction[..., 0], targets)
        log_ratio = bounded_log_ratio(log_prob, targets.old_log_prob)
        told = {
            "critic_loss": value_loss,
            "policy_entropy": entropy,
            "kl": (jnp.expm1(log_ratio) - log_ratio).mean(),
        }
        return policy - self.entropy_weight * entropy + self.value_weight * value_loss, told

    def _value_loss(self, value: jax.Array, targets: PPOTargets) -> jax.Array:
        error = (value - targets.value) ** 2
        if self.value_clip is not None:
            near = targets.old_value + jnp.clip(value - targets.old_value, -self.value_clip, self.value_clip)
            error = jnp.maximum(error, (near - targets.value) ** 2)
        return 0.5 * error.mean()
