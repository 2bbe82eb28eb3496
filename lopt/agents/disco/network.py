"""The network of DiscoRL's agents: a torso, linear outputs, and a model of one step for outputs per action."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.nets import LSTM, MLP, truncated_lecun
from lopt.objectives import DiscoOutput


def mlp_torso(*widths: int) -> MLP:
    """A torso with ReLU between its layers and none after the last; `mlp_torso(512, 512)` is that of DiscoRL."""
    return MLP(widths[:-1], widths[-1], hidden_init=truncated_lecun, output_init=truncated_lecun)


class ActionModel(nn.Module):
    """Outputs per action: one step of an LSTM whose state comes from the observation and whose input is the action.

        c_0 = W x + b,   h_0 = tanh(c_0),   (h_a, c_a) = LSTM(one-hot(a), (h_0, c_0)),   output_a = MLP(h_a).

    Attributes:
        num_actions: A.
        sizes: widths of the outputs, each of which has an MLP of its own.
        state_size: width of the LSTM.
        hidden: hidden width of the MLPs.
    """

    num_actions: int
    sizes: tuple[int, ...]
    state_size: int = 128
    hidden: int = 128

    @nn.compact
    def __call__(self, x: Float[Array, " F"]) -> tuple[Float[Array, "A _"], ...]:
        """The outputs `[A, size]` from the torso's features of one observation."""
        cell = nn.Dense(self.state_size, kernel_init=truncated_lecun, name="initial")(x)
        cell = jnp.broadcast_to(cell, (self.num_actions, self.state_size))
        lstm = LSTM(self.state_size, truncated_lecun, 1.0, name="step")
        h, _ = lstm(jnp.eye(self.num_actions), (jnp.tanh(cell), cell))
        hidden = [nn.relu(nn.Dense(self.hidden, kernel_init=truncated_lecun)(h)) for _ in self.sizes]
        return tuple(nn.Dense(size, kernel_init=truncated_lecun)(x) for size, x in zip(self.sizes, hidden, strict=True))


class DiscoNetwork(nn.Module):
    """All outputs of an agent for one observation: policy and y by linear layers on the torso, the others by a model.

    Attributes:
        torso: a module from one observation to a vector.
        num_actions: A.
        prediction_size: M, the width of y and z.
        num_bins: Q, bins of the categorical action values.
        state_size: width of the action model's LSTM.
        hidden: hidden width of the action model's MLPs.

    Paper: DiscoRL (Nature 2025), the MLP agent of its published code.
    """

    torso: nn.Module
    num_actions: int
    prediction_size: int
    num_bins: int
    state_size: int = 128
    hidden: int = 128

    def setup(self) -> None:
        """The output layers, small at initialisation, and the action model."""
        small = nn.initializers.truncated_normal(1e-2)
        self.policy_output = nn.Dense(self.num_actions, kernel_init=small)
        self.y_output = nn.Dense(self.prediction_size, kernel_init=small)
        sizes = (self.prediction_size, self.num_actions, self.num_bins)
        self.action_model = ActionModel(self.num_actions, sizes, self.state_size, self.hidden)

    def __call__(self, obs: Any) -> DiscoOutput:
        """All outputs."""
        x = self.torso(obs)
        z, aux_policy, q = self.action_model(x)
        return DiscoOutput(policy=self.policy_output(x), y=self.y_output(x), z=z, aux_policy=aux_policy, q=q)

    def policy(self, obs: Any) -> Float[Array, " A"]:
        """The policy's logits alone."""
        logits: Array = self.policy_output(self.torso(obs))
        return logits
