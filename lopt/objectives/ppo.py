"""Mirror learning with any drift in PPO's form: PPO, DPO, LPO and TA-LPO."""

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
    """PPO's targets, constant during the epochs of an update.

    Attributes:
        advantage: A_t, not normalised.
        value: V*_t = A_t + V_old(s_t).
        old_value: V_old(s_t), of the agent that sampled the rollout.
        old_log_prob: log pi_old(a_t | s_t).
    """

    advantage: Float[Array, "T B"]
    value: Float[Array, "T B"]
    old_value: Float[Array, "T B"]
    old_log_prob: Float[Array, "T B"]


@dataclass(frozen=True, kw_only=True)
class PPO:
    """Mirror learning with the drift f; the agent's prediction, of width one, is the value function V.

        L = - mean[ r A - f(r, A) ] - entropy_weight mean[ H(pi) ] + value_weight mean[ (V - V*)^2 / 2 ]

    with r = pi(a) / pi_old(a), GAE(gamma, lam) advantages A, and V* = A + V_old. In the first term A is normalised over
    the batch that `loss` is given (a minibatch in PPO's epochs). With `value_clip` the squared error is

        max((V - V*)^2, (V_clip - V*)^2),   V_clip = V_old + clip(V - V_old, -value_clip, value_clip).

        PPO()                           proximal policy optimisation
        PPO(drift=DPO())                      discovered policy optimisation
        PPO(drift=LPO(base_drift=Clip()))     learned policy optimisation; theta = 0 is PPO
        PPO(drift=TALPO(base_drift=Clip()))   temporally-aware LPO

    Attributes:
        drift: f; theta are its meta-parameters.
        gamma: discount factor in [0, 1].
        lam: GAE's lambda in [0, 1].
        entropy_weight: weight of the entropy in nats.
        value_weight: weight of the value loss.
        value_clip: clipping range of V around V_old, in units of the return; None for no clipping. Use it with
            normalised rewards only: where returns are of the order of tens, 0.2 prevents the critic from learning them
            (on CartPole the return of PPO after 10,240 steps falls from 417 to 254).
        normalise: whether A is normalised over the batch; the loss of a batch is then not the mean of the losses of its
            minibatches.

    Raises:
        ValueError: gamma or lam outside [0, 1], a weight that is not finite, or a value_clip that is not positive.

    Paper: arXiv 1707.06347, eq. 9; arXiv 2210.05639; the defaults are those of luchris429/purejaxrl.
    Differs: purejaxrl clips V by 0.2 whatever the scale of the rewards; LPO's code does not clip V.
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
        """1, for the value V."""
        return 1

    def init(self, key: Key) -> Theta:
        """The drift's initial meta-parameters."""
        return self.drift.init(key)

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> PPOTargets:
        """Advantages, value targets, and the agent's values and log-probabilities before the update; constants."""
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
        """L, and metrics: "critic_loss", "policy_entropy" in nats, and "kl".

        "kl" is the mean of r - 1 - log r, an estimate of KL(pi_old || pi) in nats.
        """
        advantage = returns.normalise(targets.advantage) if self.normalise else targets.advantage
        log_prob = policies.log_prob(out.policy, traj.action)
        policy = ppo_loss(log_prob, targets.old_log_prob, advantage, bind_drift(self.drift, theta, progress))
        entropy = policies.entropy(out.policy).mean()
        value_loss = self._value_loss(out.prediction[..., 0], targets)
        log_ratio = bounded_log_ratio(log_prob, targets.old_log_prob)
        metrics = {
            "critic_loss": value_loss,
            "policy_entropy": entropy,
            "kl": (jnp.expm1(log_ratio) - log_ratio).mean(),
        }
        return policy - self.entropy_weight * entropy + self.value_weight * value_loss, metrics

    def _value_loss(self, value: jax.Array, targets: PPOTargets) -> jax.Array:
        error = (value - targets.value) ** 2
        if self.value_clip is not None:
            clipped = targets.old_value + jnp.clip(value - targets.old_value, -self.value_clip, self.value_clip)
            error = jnp.maximum(error, (clipped - targets.value) ** 2)
        return 0.5 * error.mean()
