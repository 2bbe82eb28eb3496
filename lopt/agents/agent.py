"""An agent with a policy and a prediction, and a value baseline, of trainable modules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import returns
from lopt.agents.trainable import Trainable, TrainableState, apply_many
from lopt.types import AgentOutput, Key, Metrics, Rates, Trajectory


class AgentState(struct.PyTreeNode):
    """The states of the two trainable modules; `prediction` is `()` for an agent without predictions."""

    policy: TrainableState
    prediction: Any


@dataclass(frozen=True)
class Agent:
    """A policy and a prediction module, with separate parameters and optimizers.

    Attributes:
        policy: trainable module with the policy's logits `[A]` as output.
        prediction: trainable module with the prediction's logits `[M]` as output; None for no prediction.
    """

    policy: Trainable
    prediction: Trainable | None

    def init(self, key: Key, obs: Any) -> AgentState:
        """An initial agent; `obs` is one observation, which sets the shapes."""
        key_policy, key_prediction = jax.random.split(key)
        prediction = self.prediction.init(key_prediction, obs) if self.prediction else ()
        return AgentState(policy=self.policy.init(key_policy, obs), prediction=prediction)

    def act(self, state: AgentState, obs: Any) -> Float[Array, " A"]:
        """The policy's logits at one observation."""
        return self.policy.apply(state.policy.params, obs)

    def outputs(self, state: AgentState, obs: Any) -> AgentOutput:
        """Policy logits `[T, B, A]` and prediction logits `[T, B, M]` at observations `[T, B, ...]`."""
        policy = apply_many(self.policy, state.policy.params, obs)
        if self.prediction is None:
            return AgentOutput(policy=policy, prediction=jnp.zeros((*policy.shape[:2], 0)))
        return AgentOutput(policy=policy, prediction=apply_many(self.prediction, state.prediction.params, obs))

    def update(
        self,
        state: AgentState,
        obs: Any,
        loss: Callable[[AgentOutput], tuple[Float[Array, ""], Metrics]],
        active: Bool[Array, ""],
        rates: Any = (),
        extra_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[AgentState, Float[Array, ""], Metrics]:
        """One optimizer step of each module on `loss`, a function of the agent's outputs.

        Args:
            state: the agent.
            obs: observations `[T, B, ...]`.
            loss: function from the outputs at `obs` to a scalar and metrics.
            active: whether the lifetime is not over; else the state is returned unchanged.
            rates: the level's factors on the two learning rates (`Rates`), `()` for none.
            extra_args: further arguments of the optimizers' updates: `progress` and `key`. `value` and `explore` (1 for
                the policy, 0 for the prediction) are added, and each module has a key of its own.

        Returns:
            The new state, and the value and metrics of `loss` before the step.
        """
        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(self.outputs(state, obs))
        factors = (rates.policy, rates.prediction) if isinstance(rates, Rates) else (1.0, 1.0)
        extra = [{**extra_args, "value": value, "explore": explore} for explore in (1.0, 0.0)]
        if "key" in extra_args:
            for arguments, key in zip(extra, jax.random.split(extra_args["key"]), strict=True):
                arguments["key"] = key
        policy = self.policy.update(state.policy, obs, grads.policy, active, factors[0], extra[0])
        prediction = state.prediction
        if self.prediction is not None:
            prediction = self.prediction.update(prediction, obs, grads.prediction, active, factors[1], extra[1])
        return AgentState(policy=policy, prediction=prediction), value, metrics


class ValueEstimates(struct.PyTreeNode):
    """A baseline's estimates for a rollout: values V(s_t), GAE advantages A_t, and the mean of A_t^2 as `loss`."""

    value: Float[Array, "T B"]
    advantage: Float[Array, "T B"]
    loss: Float[Array, ""]


@dataclass(frozen=True, kw_only=True)
class ValueBaseline:
    """The value function V(s), trained by one optimizer step per rollout.

    It minimises mean[(V(s_t) - V*_t)^2] with the constant targets V*_t = V(s_t) + A_t, of GAE(gamma, lam) advantages A.

    Attributes:
        critic: a trainable module with one output.
        gamma: discount factor in [0, 1].
        lam: GAE's lambda in [0, 1].

    Raises:
        ValueError: a critic with more than one output; gamma or lam outside [0, 1].
    """

    critic: Trainable
    gamma: float = 0.99
    lam: float = 0.95

    def __post_init__(self) -> None:
        if self.critic.features != 1:
            raise ValueError(f"ValueBaseline: the critic must have one output (got {self.critic.features})")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ValueBaseline: {name} must be in [0, 1] (got {getattr(self, name)})")

    def init(self, key: Key, obs: Any) -> TrainableState:
        """The initial value function; `obs` is one observation."""
        return self.critic.init(key, obs)

    def update(
        self, state: TrainableState, traj: Trajectory, active: Bool[Array, ""]
    ) -> tuple[TrainableState, ValueEstimates]:
        """One optimizer step; returns the new state, and the estimates of the value function before the step.

        The given state is a constant for differentiation. Where not `active`, it is returned unchanged.
        """
        state = jax.lax.stop_gradient(state)
        value = apply_many(self.critic, state.params, traj.obs)[..., 0]
        value_next = apply_many(self.critic, state.params, traj.next_obs)[..., 0]
        advantage = returns.gae(
            traj.reward, traj.discount, traj.truncated, value, value_next, gamma=self.gamma, lam=self.lam
        )
        # with the target A + V held fixed, the gradient of mean[(V - target)^2] in V is - 2 A / (T B)
        grads = -2.0 * advantage / advantage.size
        updated = self.critic.update(state, traj.obs, grads[..., None], active)
        return updated, ValueEstimates(value=value, advantage=advantage, loss=(advantage**2).mean())
