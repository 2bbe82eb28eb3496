"""Learned policy gradient: a recurrent network reads a trajectory backwards and says what the agent should become."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import policies
from lopt.nets import ReverseGRU
from lopt.objectives.time import NoTime
from lopt.types import AgentOutput, Gaussian, Key, Metrics, Progress, Theta, Trajectory

PLAIN = 3
"""Inputs before those of time: r, terminated and pi(a)."""


class LPGTargets(struct.PyTreeNode):
    """What the rule asks of each step: `pi_hat` `[T, B]` weighs log pi(a), `y_hat` `[T, B, M]` are target logits."""

    pi_hat: Float[Array, "T B"]
    y_hat: Float[Array, "T B M"]


class LPGNet(nn.Module):
    """Embedding, reverse recurrence and the two heads of the rule."""

    prediction_size: int
    hidden: int
    embedding: int
    recurrence: Callable[..., nn.Module]

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "T B F"],
        y: Float[Array, "T B M"],
        y_next: Float[Array, "T B M"],
        terminated: Bool[Array, "T B"],
        last: Bool[Array, "T B"],
    ) -> LPGTargets:
        """Targets from the plain inputs and the predictions at both ends of every step."""
        embed = nn.Sequential([nn.Dense(self.embedding), nn.relu, nn.Dense(1)], name="embedding")
        after = jnp.where(terminated[..., None], 0.0, embed(y_next))
        x = jnp.concatenate([inputs, embed(y), after], axis=-1)
        h = nn.relu(self.recurrence(self.hidden, name="recurrence")(x, last))
        pi_hat = nn.Dense(1, name="pi_hat")(h)[..., 0]
        return LPGTargets(pi_hat=pi_hat, y_hat=nn.Dense(self.prediction_size, name="y_hat")(h))


@dataclass(frozen=True)
class LPG:
    """The learned policy gradient: theta maps a rollout to targets for the policy and for a prediction vector.

    Inputs per step: r_t, terminated_t, pi(a_t | s_t), phi(y(s_t)), phi(y(s_{t+1})) (0 where terminated), and the
    time features. A recurrent network runs over them from t = T to 1, reset wherever an episode ended, and gives
    pi_hat_t and y_hat_t. The agent then minimises

        - mean[ log pi(a_t | s_t) pi_hat_t ]  +  alpha_y mean[ KL(y(s_t) || y_hat_t) ].

    The targets are constants for the agent: its own gradient does not flow through the inputs. The meta-gradient
    does: y_hat moves y, y is an input of later updates, and that is the one way for theta to learn what to predict
    and how to bootstrap from it.

    Attributes:
        prediction_size: M, the width of y.
        hidden: width of the recurrent state.
        embedding: width of the hidden layer of phi.
        alpha_y: weight of the prediction's loss.
        recurrence: `ReverseGRU` or `ReverseLSTM`: width -> module.
        conditioning: what the rule is told of time; `NoTime()` is LPG.
        time_scale: scale of the initial weights of time; a rule that starts at 0 starts as one that is not told it.
        input_gradient: whether the meta-gradient flows through the inputs. False reproduces EmptyJackson/groove, whose
            stop-gradient there blocks it: y_hat then learns from its regularisers alone, and y stays uniform.

    Raises:
        ValueError: a width below one, or an `alpha_y` or `time_scale` that is negative or not finite.

    Paper: arXiv 2007.08794, eq. 2-3 and section 3.2; GRU, M = 8 and the inputs as in arXiv 2310.02782.
    Differs: the paper has an LSTM, M = 30 and the discount factor as an input. EmptyJackson/groove minimises
        + log pi pi_hat (pi_hat has the other sign), adds 1e-8 inside its logarithms, and treats a time-out as
        "done": here a truncation is told from a termination; the state is reset but y(s_{t+1}) stays visible.
    """

    prediction_size: int = 8
    hidden: int = 256
    embedding: int = 16
    alpha_y: float = 0.5
    recurrence: Callable[..., nn.Module] = ReverseGRU
    conditioning: Any = NoTime()
    time_scale: float = 1.0
    input_gradient: bool = True

    def __post_init__(self) -> None:
        for name in ("prediction_size", "hidden", "embedding"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"LPG: {name} must be at least 1 (got {getattr(self, name)})")
        for name in ("alpha_y", "time_scale"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"LPG: {name} must not be negative, and must be finite (got {getattr(self, name)})")

    @property
    def _net(self) -> LPGNet:
        return LPGNet(self.prediction_size, self.hidden, self.embedding, self.recurrence)

    def init(self, key: Key) -> Theta:
        """Meta-parameters: a dictionary of arrays, initialised as Flax does (LeCun normal, orthogonal)."""
        steps = jnp.zeros((1, 1, self.prediction_size))
        inputs = jnp.zeros((1, 1, PLAIN + self.conditioning.features))
        never = jnp.zeros((1, 1), bool)
        theta = self._net.init(key, inputs, steps, steps, never, never)["params"]
        if self.time_scale == 1:
            return theta
        time = slice(PLAIN, PLAIN + self.conditioning.features)
        weights = theta["recurrence"]["input"].at[time].multiply(self.time_scale)
        return theta | {"recurrence": theta["recurrence"] | {"input": weights}}

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> LPGTargets:
        """pi_hat `[T, B]` and y_hat `[T, B, M]` for a trajectory.

        Raises:
            ValueError: the actions are real vectors, of which there is a density and no probability.
        """
        if isinstance(out.policy, Gaussian):
            raise ValueError("LPG: pi(a) is an input of the rule and needs discrete actions (got a Gaussian policy)")
        terminated = traj.discount == 0
        chosen = jnp.exp(policies.log_prob(out.policy, traj.action))
        plain = jnp.stack([traj.reward, terminated.astype(jnp.float32), chosen], axis=-1)
        time = self.conditioning(progress)
        time = jnp.broadcast_to(time, (*plain.shape[:2], time.shape[-1]))
        y, y_next = jax.nn.softmax(out.prediction), jax.nn.softmax(out_next.prediction)
        inputs = jnp.concatenate([plain, time], axis=-1)
        if not self.input_gradient:
            inputs, y, y_next = jax.lax.stop_gradient((inputs, y, y_next))
        targets = self._net.apply({"params": theta}, inputs, y, y_next, terminated, traj.last)
        return cast(LPGTargets, targets)

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: LPGTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """The agent's loss, and the squares of the targets that the meta-objective penalises."""
        policy = -(policies.log_prob(out.policy, traj.action) * targets.pi_hat).mean()
        prediction = policies.kl(out.prediction, targets.y_hat).mean()
        y_hat = jax.nn.softmax(targets.y_hat)
        squares = {"pi_hat_l2": (targets.pi_hat**2).mean(), "y_hat_l2": (y_hat**2).sum(-1).mean()}
        return policy + self.alpha_y * prediction, squares


@dataclass(frozen=True)
class LPGPenalty:
    """The meta-objective's regularisers, averaged over those of the K updates that the lifetime still had.

    - beta0 H(pi) - beta1 H(y) + beta2 mean[pi_hat^2] + beta3 mean[sum_k y_hat_k^2]

    Raises:
        ValueError: a weight that is not finite.

    Paper: arXiv 2007.08794, section 4.1 (values: arXiv 2310.02782, table 2).
    """

    policy_entropy: float = 5e-2
    prediction_entropy: float = 1e-3
    pi_hat_l2: float = 5e-3
    y_hat_l2: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("policy_entropy", "prediction_entropy", "pi_hat_l2", "y_hat_l2"):
            if not abs(getattr(self, name)) < math.inf:
                raise ValueError(f"LPGPenalty: {name} must be finite (got {getattr(self, name)})")

    def __call__(self, steps: Metrics, active: Bool[Array, " K"]) -> Float[Array, ""]:
        """The penalty, from the metrics `[K]` of one lifetime's updates and a mask of those before its end."""

        def mean(name):
            return jnp.where(active, steps[name], 0.0).sum() / jnp.maximum(active.sum(), 1)

        return (
            -self.policy_entropy * mean("policy_entropy")
            - self.prediction_entropy * mean("prediction_entropy")
            + self.pi_hat_l2 * mean("pi_hat_l2")
            + self.y_hat_l2 * mean("y_hat_l2")
        )
