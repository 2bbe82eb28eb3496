"""Mirror learning with any drift in PPO's form: PPO's policy loss as a function of arrays, and the objective."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import policies, returns
from lopt.objectives.drift import DPO, Clip, Drift
from lopt.types import AgentOutput, Key, Metrics, Progress, Theta, Trajectory

DriftFunction = Callable[..., jax.Array]
"""f(log r, A): from two arrays of equal shape to one of that shape; time-aware drifts take a `Progress` as third."""

MAX_LOG_RATIO = 20.0
"""Bound on |log r| in the loss."""


def bind_drift(drift: Drift, theta: Theta = (), progress: Progress | None = None) -> DriftFunction:
    """A drift as a function of arrays, for `ppo_loss`, for plots, or for differentiation.

        drift = lopt.bind_drift(TALPO(base_drift=Clip()), theta)
        f = drift(log_ratio, advantage, Progress(step, num_updates))

    Args:
        drift: the drift.
        theta: its meta-parameters.
        progress: if given, the function is f(log r, A) at this progress; else the function takes the progress as third
            argument, which is optional and ignored where the drift is not time-aware.

    Raises:
        ValueError: a `drift` that is not a `Drift`; when the function is called, a time-aware drift without progress.
    """
    if isinstance(drift, type) or not isinstance(drift, Drift):
        raise ValueError(f"bind_drift: drift must be a Drift, such as Clip() or DPO() (got {drift!r})")
    if progress is not None:
        return lambda log_ratio, advantage: drift(theta, log_ratio, advantage, progress)

    def function(log_ratio: jax.Array, advantage: jax.Array, progress: Progress | None = None) -> jax.Array:
        if progress is None:
            if drift.time_aware:
                raise ValueError(
                    f"{type(drift).__name__}: this drift depends on time and needs the learner's progress (got None), "
                    "for example drift(log_ratio, advantage, Progress(step=jnp.int32(3), num_updates=jnp.int32(10))) "
                    "in the fourth of ten updates, or ppo_loss(..., progress=...); Progress is in lopt.types"
                )
            progress = Progress(step=jnp.zeros((), jnp.int32), num_updates=jnp.ones((), jnp.int32))
        return drift(theta, log_ratio, advantage, progress)

    return function


def clip_drift(epsilon: float = 0.2) -> DriftFunction:
    """PPO's drift (`Clip`) as a function f(log r, A)."""
    return bind_drift(Clip(epsilon))


def dpo_drift(alpha: float = 2.0, beta: float = 0.6) -> DriftFunction:
    """DPO's drift (`DPO`) as a function f(log r, A)."""
    return bind_drift(DPO(alpha, beta))


def ppo_loss(
    log_prob: Float[Array, "*b"],
    old_log_prob: Float[Array, "*b"],
    advantage: Float[Array, "*b"],
    drift: DriftFunction | None = None,
    where: Bool[Array, "*b"] | None = None,
    progress: Progress | None = None,
) -> Float[Array, ""]:
    """The policy loss - mean[ r A - f(r, A) ], with r = exp(log_prob - old_log_prob).

    It replaces the clipped surrogate in any PPO; the value loss and the entropy bonus are unchanged:

        loss = lopt.ppo_loss(log_prob, batch.log_prob, advantage, lopt.dpo_drift()) + value_loss - 0.01 * entropy

    Args:
        log_prob: log pi(a) of the actions taken, under the policy that is trained.
        old_log_prob: log pi_old(a), under the policy that sampled the actions.
        advantage: A, normalised as in PPO; a discovered drift depends on the scale of A.
        drift: f; None is PPO's, `clip_drift()`.
        where: the entries that the mean is over; None for all.
        progress: the learner's progress, for a time-aware drift.

    Raises:
        ValueError: arrays of different shapes, a `Drift` instead of a function, or a time-aware drift without progress.

    Paper: arXiv 2201.02373 (mirror learning); arXiv 2210.05639.
    Differs: log r is clipped to [-20, 20], with zero gradient outside, so that the loss stays finite for a policy that
        has diverged.
    """
    arrays = {"log_prob": log_prob, "old_log_prob": old_log_prob, "advantage": advantage}
    shapes = {name: jnp.shape(x) for name, x in (arrays | ({} if where is None else {"where": where})).items()}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"ppo_loss: arrays must have one shape (got {got})")
    if isinstance(drift, Drift) or not (drift is None or callable(drift)):
        raise ValueError(
            f"ppo_loss: drift must be a function, such as lopt.dpo_drift() or lopt.bind_drift(DPO()) (got {drift!r})"
        )
    log_ratio = bounded_log_ratio(log_prob, old_log_prob)
    time = () if progress is None else (progress,)
    objective = jnp.exp(log_ratio) * advantage - (drift or clip_drift())(log_ratio, advantage, *time)
    return -jnp.mean(objective, where=where)


def bounded_log_ratio(log_prob: Float[Array, "*b"], old_log_prob: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """log r, clipped to [-20, 20]."""
    return jnp.clip(log_prob - old_log_prob, -MAX_LOG_RATIO, MAX_LOG_RATIO)


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
