"""An agent: a policy and a prediction, each a head of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt.agents.heads import Head, HeadState, apply_many
from lopt.types import AgentOutput, Key, Metrics, Rates


class AgentState(struct.PyTreeNode):
    """The states of the two heads; `prediction` is `()` for an agent without predictions."""

    policy: HeadState
    prediction: Any


@dataclass(frozen=True)
class Agent:
    """Two heads with parameters and optimizers of their own.

    Attributes:
        policy: gives the policy's logits, `[A]`.
        prediction: gives the prediction's logits, `[M]`; None for an agent without predictions.
    """

    policy: Head
    prediction: Head | None

    def init(self, key: Key, obs: Any) -> AgentState:
        """A newborn agent, from one observation."""
        key_policy, key_prediction = jax.random.split(key)
        prediction = self.prediction.init(key_prediction, obs) if self.prediction else ()
        return AgentState(policy=self.policy.init(key_policy, obs), prediction=prediction)

    def act(self, state: AgentState, obs: Any) -> Float[Array, " A"]:
        """Policy logits for one observation."""
        return self.policy.apply(state.policy.params, obs)

    def outputs(self, state: AgentState, obs: Any) -> AgentOutput:
        """Policy and prediction logits for observations `[T, B, ...]`."""
        policy = apply_many(self.policy, state.policy.params, obs)
        if self.prediction is None:
            return AgentOutput(policy=policy, prediction=jnp.zeros((*policy.shape[:2], 0)))
        return AgentOutput(policy=policy, prediction=apply_many(self.prediction, state.prediction.params, obs))

    def update(
        self,
        state: AgentState,
        obs: Any,
        loss: Callable[[AgentOutput], tuple[Float[Array, ""], Metrics]],
        alive: Bool[Array, ""],
        rates: Any = (),
    ) -> tuple[AgentState, Float[Array, ""], Metrics]:
        """One step of each head against the gradient of `loss` in the outputs; returns its value and metrics too.

        `rates` are the level's factors on the heads' learning rates, `()` for none.
        """
        (value, told), grads = jax.value_and_grad(loss, has_aux=True)(self.outputs(state, obs))
        factors = (rates.policy, rates.prediction) if isinstance(rates, Rates) else (1.0, 1.0)
        policy = self.policy.update(state.policy, obs, grads.policy, alive, factors[0])
        prediction = state.prediction
        if self.prediction is not None:
            prediction = self.prediction.update(prediction, obs, grads.prediction, alive, factors[1])
        return AgentState(policy=policy, prediction=prediction), value, told
