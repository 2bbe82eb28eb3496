"""Learned policy gradient (LPG): a recurrent network that maps a trajectory to targets of the agent's outputs."""

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

NUM_STEP_INPUTS = 3
"""Number of inputs per step before the time features: r_t, terminated_t and pi(a_t | s_t)."""

EPSILON = 1e-8
"""Added to the variance of pi_hat in its normalisation."""


class LPGTargets(struct.PyTreeNode):
    """LPG's targets: `pi_hat`, the weights of log pi(a_t), and `y_hat`, the logits of the target predictions."""

    pi_hat: Float[Array, "T B"]
    y_hat: Float[Array, "T B M"]


class LPGNet(nn.Module):
    """LPG's network: embedding of predictions, reverse recurrence, and the two output layers.

    Attributes:
        prediction_size: M, the width of y.
        hidden: width of the recurrent state.
        embedding: width of the hidden layer of the embedding phi.
        recurrence: factory from `hidden` to a module, `ReverseGRU` or `ReverseLSTM`.
        normalise: whether pi_hat is normalised over the rollout, see `LPG`.
    """

    prediction_size: int
    hidden: int
    embedding: int
    recurrence: Callable[..., nn.Module]
    normalise: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "T B F"],
        y: Float[Array, "T B M"],
        y_next: Float[Array, "T B M"],
        terminated: Bool[Array, "T B"],
        last: Bool[Array, "T B"],
    ) -> LPGTargets:
        """Targets for a rollout.

        Args:
            inputs: r_t, terminated_t, pi(a_t | s_t) and the time features.
            y: y(s_t), a probability vector.
            y_next: y(s_{t+1}).
            terminated: where the embedding of `y_next` is replaced by zero.
            last: where an episode ended, and the recurrent state is reset.
        """
        embed = nn.Sequential([nn.Dense(self.embedding), nn.relu, nn.Dense(1)], name="embedding")
        after = jnp.where(terminated[..., None], 0.0, embed(y_next))
        x = jnp.concatenate([inputs, embed(y), after], axis=-1)
        h = nn.relu(self.recurrence(self.hidden, name="recurrence")(x, last))
        pi_hat = nn.Dense(1, name="pi_hat")(h)[..., 0]
        if self.normalise:
            log_step = nn.Dense(1, name="log_step", kernel_init=nn.initializers.zeros)(h)
            centred = pi_hat - pi_hat.mean()
            # the epsilon within the root keeps the derivative finite where all pi_hat are equal
            pi_hat = jnp.exp(log_step.mean()) * centred * jax.lax.rsqrt((centred**2).mean() + EPSILON)
        return LPGTargets(pi_hat=pi_hat, y_hat=nn.Dense(self.prediction_size, name="y_hat")(h))


@dataclass(frozen=True, kw_only=True)
class LPG:
    """The learned policy gradient: targets of the policy and of a prediction vector y, by a network with weights theta.

    The inputs of step t are r_t, terminated_t, pi(a_t | s_t), phi(y(s_t)), phi(y(s_{t+1})) (0 where terminated) and
    the time features. A recurrent network runs over them from t = T to 1, with its state reset where an episode ended,
    and outputs pi_hat_t and y_hat_t. The agent minimises

        L = - mean[ log pi(a_t | s_t) pi_hat_t ]  +  alpha_y mean[ KL(y(s_t) || y_hat_t) ].

    With `normalise`, pi_hat is

        pi_hat_t = exp(mean_t[ g_t ]) (p_t - mean_t[ p_t ]) / std_t[ p_t ],

    of two outputs p and g of the network, with means over the rollout `[T, B]`: the size of the agent's step is an
    output of its own, as in A2C with normalised advantages, and does not depend on the scale of rewards by itself.

    The targets are constants for the agent's own gradient. The meta-gradient flows through them and through the inputs:
    y_hat changes y, and y is an input of later updates. This is the only path by which theta learns what to predict and
    how to bootstrap from it.

    Attributes:
        prediction_size: M, the width of y.
        hidden: width of the recurrent state.
        embedding: width of the hidden layer of phi.
        alpha_y: weight of the prediction's loss.
        recurrence: factory from `hidden` to a module, `ReverseGRU` or `ReverseLSTM`.
        conditioning: time features (`lopt.objectives.time`); `NoTime()` is LPG, `FractionAndLogNumUpdates()` TA-LPG.
        time_init_scale: factor of the initial weights of the time features; with 0 the initial rule is independent of
            time.
        input_gradient: whether the meta-gradient flows through the inputs. False reproduces EmptyJackson/groove, whose
            stop-gradient blocks it: y_hat then learns from its regularisers alone, and y stays uniform.
        normalise: whether pi_hat is normalised over the rollout. At initialisation g is zero.

    Raises:
        ValueError: a width below one, or an `alpha_y` or `time_init_scale` that is negative or not finite.

    Paper: arXiv 2007.08794, eq. 2-3 and section 3.2; GRU, M = 8 and the inputs as in arXiv 2310.02782.
    Differs: the paper has an LSTM, M = 30 and the discount factor as an input. EmptyJackson/groove minimises
        + log pi pi_hat (pi_hat has the other sign), adds 1e-8 inside its logarithms, and treats a time limit as a
        termination. Here a truncation resets the recurrent state, but y(s_{t+1}) remains an input. Neither normalises
        pi_hat.
    """

    prediction_size: int = 8
    hidden: int = 256
    embedding: int = 16
    alpha_y: float = 0.5
    recurrence: Callable[..., nn.Module] = ReverseGRU
    conditioning: Any = NoTime()
    time_init_scale: float = 1.0
    input_gradient: bool = True
    normalise: bool = False

    def __post_init__(self) -> None:
        for name in ("prediction_size", "hidden", "embedding"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"LPG: {name} must be at least 1 (got {getattr(self, name)})")
        for name in ("alpha_y", "time_init_scale"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"LPG: {name} must not be negative, and must be finite (got {getattr(self, name)})")

    @property
    def _net(self) -> LPGNet:
        return LPGNet(self.prediction_size, self.hidden, self.embedding, self.recurrence, self.normalise)

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters: a dictionary of arrays, LeCun normal and (recurrent weights) orthogonal."""
        steps = jnp.zeros((1, 1, self.prediction_size))
        inputs = jnp.zeros((1, 1, NUM_STEP_INPUTS + self.conditioning.features))
        never = jnp.zeros((1, 1), bool)
        theta = self._net.init(key, inputs, steps, steps, never, never)["params"]
        if self.time_init_scale == 1:
            return theta
        time_rows = slice(NUM_STEP_INPUTS, NUM_STEP_INPUTS + self.conditioning.features)
        weights = theta["recurrence"]["input"].at[time_rows].multiply(self.time_init_scale)
        return theta | {"recurrence": theta["recurrence"] | {"input": weights}}

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> LPGTargets:
        """pi_hat and y_hat for a trajectory.

        Raises:
            ValueError: a `Gaussian` policy, for which pi(a) is a density and not a probability.
        """
        if isinstance(out.policy, Gaussian):
            raise ValueError("LPG: pi(a) is an input of the rule and needs discrete actions (got a Gaussian policy)")
        terminated = traj.discount == 0
        pi = jnp.exp(policies.log_prob(out.policy, traj.action))
        step_inputs = jnp.stack([traj.reward, terminated.astype(jnp.float32), pi], axis=-1)
        time = self.conditioning(progress)
        time = jnp.broadcast_to(time, (*step_inputs.shape[:2], time.shape[-1]))
        y, y_next = jax.nn.softmax(out.prediction), jax.nn.softmax(out_next.prediction)
        inputs = jnp.concatenate([step_inputs, time], axis=-1)
        if not self.input_gradient:
            inputs, y, y_next = jax.lax.stop_gradient((inputs, y, y_next))
        targets = self._net.apply({"params": theta}, inputs, y, y_next, terminated, traj.last)
        return cast(LPGTargets, targets)

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: LPGTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """L, and the means of pi_hat^2 and sum_k y_hat_k^2 as metrics "pi_hat_l2" and "y_hat_l2"."""
        policy = -(policies.log_prob(out.policy, traj.action) * targets.pi_hat).mean()
        prediction = policies.kl(out.prediction, targets.y_hat).mean()
        y_hat = jax.nn.softmax(targets.y_hat)
        squares = {"pi_hat_l2": (targets.pi_hat**2).mean(), "y_hat_l2": (y_hat**2).sum(-1).mean()}
        return policy + self.alpha_y * prediction, squares


@dataclass(frozen=True, kw_only=True)
class LPGRegulariser:
    """Regularisers of LPG's meta-objective, for one update; a meta-gradient averages them over its K updates.

        - beta_0 mean[ H(pi) ] - beta_1 mean[ H(y) ] + beta_2 mean[ pi_hat^2 ] + beta_3 mean[ sum_k y_hat_k^2 ]

    Attributes:
        policy_entropy: beta_0.
        prediction_entropy: beta_1.
        pi_hat_l2: beta_2.
        y_hat_l2: beta_3.

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
                raise ValueError(f"LPGRegulariser: {name} must be finite (got {getattr(self, name)})")

    def __call__(self, out: AgentOutput, targets: LPGTargets) -> Float[Array, ""]:
        """The regulariser of one update.

        Args:
            out: outputs of the updated agent on its rollout, `[T, B, ...]`.
            targets: what the rule gave for that rollout.
        """
        y_hat = jax.nn.softmax(targets.y_hat)
        return (
            -self.policy_entropy * policies.entropy(out.policy).mean()
            - self.prediction_entropy * policies.entropy(out.prediction).mean()
            + self.pi_hat_l2 * (targets.pi_hat**2).mean()
            + self.y_hat_l2 * (y_hat**2).sum(-1).mean()
        )
