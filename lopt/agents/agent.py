"""An agent with a policy and a prediction, each a trainable module with its own optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt.agents.trainable import Trainable, TrainableState, apply_many
from lopt.types import AgentOutput, Key, Metrics, Rates


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
    ) -> tuple[AgentState, Float[Array, ""], Metrics]:
        """One optimizer step of each module on `loss`, a function of the agent's outputs.

        Args:
            state: the agent.
            obs: observations `[T, B, ...]`.
            loss: function from the outputs at `obs` to a scalar and metrics.
            active: whether the lifetime is not over; else the state is returned unchanged.
            rates: the level's factors on the two learning rates (`Rates`), `()` for none.

        Returns:
            The new state, and the value and metrics of `loss` before the step.
        """
        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(self.outputs(state, obs))
        factors = (rates.policy, rates.prediction) if isinstance(rates, Rates) else (1.0, 1.0)
        policy = self.policy.update(state.policy, obs, grads.policy, active, factors[0])
        prediction = state.prediction
        if self.prediction is not None:
            prediction = self.prediction.update(prediction, obs, grads.prediction, active, factors[1])
        return AgentState(policy=policy, prediction=prediction), value, metrics
