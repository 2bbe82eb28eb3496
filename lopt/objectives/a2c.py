"""Advantage actor-critic (A2C) in the form of the `Objective` protocol, and with constants that are functions of the
learner's progress, and meta-parameters.
"""

import math
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
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


SCALES = {
    "log_step": 1.0,
    "entropy_weight": 0.1,
    "step_cost": 0.05,
    "termination_cost": 0.1,
    "gamma_logit": 1.0,
    "lam_logit": 1.0,
    "log_negative": 1.0,
    "log_value_step": 1.0,
}
"""The schedules, and the factor between an entry of theta and the quantity, so that steps of one size in theta have
effects of comparable size."""

COUNT_SCALES = {"bonus": 0.05, "log_count_step": 1.0, "log_value_novelty": 2.0}
"""The schedules that are added where the agent counts its visits."""


@dataclass(frozen=True, kw_only=True)
class ScheduledA2C:
    """A2C with schedules over the lifetime, theta: eight functions of the progress p = n / N, linear between knots.

        r'_t = r_t - step_cost(p) - termination_cost(p) [s_{t+1} is terminal]
        A    = GAE(gamma(p), lam(p)) of r' and V;  V_target = A + V;  then A is normalised if `normalise`
        w_t  = exp(log_step(p)) A_t m_t,  m_t = 1 where A_t > 0, else exp(log_negative(p))
        L    = - mean[ log pi(a_t) (w_t - c(p) (log pi(a_t) + H(pi))) ]
               + exp(log_value_step(p)) mean[ (V - V_target)^2 ]

    with the entropy weight c(p) = `entropy_weight` + the schedule's value. Its term is the score-function estimate of
    the gradient of the entropy, and a constant for the agent; H(pi), its baseline, is that of each state or, with
    `state_entropy` off, its mean over the rollout. The logits of gamma and lam are shifted by the schedules'
    values. At theta = 0 it is A2C, but for that estimate.

    It serves two purposes: a baseline (A2C with every constant searched and annealed), and a rule that a learned
    objective can be regressed on (`lopt.agents.Imitation`): with `state_entropy` off, every term is a function of the
    inputs of a time-dependent LPG, which do not contain the entropy of a state. V is a value function and not LPG's
    categorical prediction.

    With `counts`, a second prediction c tells how often a state was visited: a term exp(log_count_step(p)) mean[ (c -
    1)^2 ] of the loss moves it from its initial value, about 0 in a table, towards 1 at every visit. Of the novelty
    nu = 1 - c, clipped to [0, 1], three schedules make a bonus for exploration and a critic that learns faster where it
    has seen little; at theta = 0 they have no effect but that c shares the bound on the prediction's gradient:

        r'_t = ... + bonus(p) nu(s_{t+1}) [s_{t+1} is not terminal]
        L    = ... with (1 + (exp(log_value_novelty(p)) - 1) nu(s_t)) (V - V_target)^2 in the place of the squared error

    Attributes:
        knots: number of points of each schedule, equally spaced over [0, 1]; with 1 all are constants.
        gamma: discount factor at theta = 0, in (0, 1).
        lam: GAE's lambda at theta = 0, in (0, 1).
        entropy_weight: weight of the entropy at theta = 0, in nats.
        normalise: whether advantages are normalised over the rollout.
        state_entropy: whether the baseline of the entropy's term is the entropy of each state, which has less variance.
        counts: whether a second prediction counts visits.

    Raises:
        ValueError: no knots, or gamma or lam outside (0, 1).

    Paper: none; A2C is arXiv 1602.01783, meta-learned constants of an actor-critic are arXiv 1805.09801, bonuses by
        counts arXiv 1606.01868.
    """

    knots: int = 3
    gamma: float = 0.99
    lam: float = 0.95
    entropy_weight: float = 0.01
    normalise: bool = True
    state_entropy: bool = True
    counts: bool = False

    def __post_init__(self) -> None:
        if self.knots < 1:
            raise ValueError(f"ScheduledA2C: knots must be at least 1 (got {self.knots})")
        for name in ("gamma", "lam"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"ScheduledA2C: {name} must be in (0, 1) (got {getattr(self, name)})")

    @property
    def prediction_size(self) -> int:
        """1, for the value V; 2 with the count of visits."""
        return 2 if self.counts else 1

    @property
    def scales(self) -> dict[str, float]:
        """The schedules of this form, and the factors of their entries of theta."""
        return SCALES | COUNT_SCALES if self.counts else SCALES

    def init(self, key: Key) -> Theta:
        """Zeros `[knots]` by schedule: A2C."""
        return {name: jnp.zeros(self.knots) for name in self.scales}

    def schedule(self, theta: Theta, fraction: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        """The quantities at a fraction n / N of the lifetime, by the names of `scales`."""
        grid = jnp.linspace(0.0, 1.0, self.knots)
        return {name: scale * jnp.interp(fraction, grid, theta[name]) for name, scale in self.scales.items()}

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> A2CTargets:
        """The weights of log pi(a_t), with the entropy's term, and the value targets."""
        at = self.schedule(theta, progress.fraction)
        value, value_next = jax.lax.stop_gradient((out.prediction[..., 0], out_next.prediction[..., 0]))
        terminated = (traj.discount == 0).astype(traj.reward.dtype)
        reward = traj.reward - at["step_cost"] - at["termination_cost"] * terminated
        if self.counts:
            reward += at["bonus"] * _novelty(out_next) * (1 - terminated)
        advantage = returns.gae(
            reward,
            traj.discount,
            traj.truncated,
            value,
            value_next,
            gamma=_shifted(self.gamma, at["gamma_logit"]),
            lam=_shifted(self.lam, at["lam_logit"]),
        )
        target = advantage + value
        if self.normalise:
            advantage = returns.normalise(advantage)
        weight = jnp.exp(at["log_step"]) * advantage * jnp.where(advantage > 0, 1.0, jnp.exp(at["log_negative"]))
        entropy = policies.entropy(out.policy)
        if not self.state_entropy:
            entropy = jnp.full_like(entropy, entropy.mean())
        centred = jax.lax.stop_gradient(policies.log_prob(out.policy, traj.action) + entropy)
        return A2CTargets(advantage=weight - (self.entropy_weight + at["entropy_weight"]) * centred, value=target)

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: A2CTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """L, and the mean squared error of V as metric "critic_loss"."""
        at = self.schedule(theta, progress.fraction)
        policy = -(policies.log_prob(out.policy, traj.action) * targets.advantage).mean()
        errors = (out.prediction[..., 0] - targets.value) ** 2
        metrics = {"critic_loss": errors.mean()}
        step = jnp.exp(at["log_value_step"])
        if not self.counts:
            return policy + step * errors.mean(), metrics
        weights = 1 + (jnp.exp(at["log_value_novelty"]) - 1) * _novelty(out)
        count = jnp.exp(at["log_count_step"]) * ((out.prediction[..., 1] - 1) ** 2).mean()
        return policy + step * (weights * errors).mean() + count, metrics


def _novelty(out: AgentOutput) -> Float[Array, "T B"]:
    """1 - c, clipped to [0, 1], as a constant for the agent."""
    return jax.lax.stop_gradient(jnp.clip(1 - out.prediction[..., 1], 0.0, 1.0))


def _shifted(probability: float, shift: Float[Array, ""]) -> Float[Array, ""]:
    """sigmoid(logit(probability) + shift)."""
    return cast(jax.Array, jax.nn.sigmoid(jnp.log(probability / (1 - probability)) + shift))
