"""DiscoRL's agent: its network (a torso, linear outputs, and a model of one step for outputs per action), its
optimizer, and one update by the rule.
"""

from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import policies, tree
from lopt.nets import LSTM, MLP, truncated_lecun
from lopt.objectives import DiscoInputs, DiscoOutput, DiscoRule, DiscoState, DiscoTargets
from lopt.optimizers import differentiable
from lopt.types import Key, Metrics, Params, Theta, Trajectory


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


def disco_adam(learning_rate: Any, max_step: float = 1.0) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) whose steps are clipped entry-wise to +-`max_step` before the learning rate multiplies
    them, and whose denominator is a constant for the meta-gradient (`lopt.optimizers.differentiable`).

    Args:
        learning_rate: a number or a schedule. DiscoRL: 3e-4 in its settings, 1e-2 in its evaluation on Catch.
        max_step: bound on Adam's step.
    """
    steps = optax.chain(optax.scale_by_adam(), optax.clip(max_step), optax.scale_by_learning_rate(learning_rate))
    # entry-wise on one vector of all parameters: a program of a tenth of the size
    return differentiable(optax.flatten(steps), constant_roots=True)


class DiscoAgentState(struct.PyTreeNode):
    """State of a `DiscoAgent`.

    Attributes:
        params: parameters of the network.
        opt_state: the optimizer's state.
        rule_state: the rule's state, with the target parameters.
        replay: the buffer of trajectories; `()` without one.
    """

    params: Params
    opt_state: Any
    rule_state: DiscoState
    replay: Any


@dataclass(frozen=True, kw_only=True)
class DiscoAgent:
    """A network with the outputs that DiscoRL's rule needs, and the optimizer of its parameters.

    Attributes:
        rule: the rule.
        network: the network.
        optimizer: an optax transformation; `disco_adam`.
    """

    rule: DiscoRule
    network: DiscoNetwork
    optimizer: optax.GradientTransformation

    def init(self, key: Key, obs: Any) -> DiscoAgentState:
        """An initial agent, without a buffer; `obs` is one observation, which sets the shapes."""
        params = self.network.init(key, obs)["params"]
        state = DiscoAgentState(
            params=params,
            opt_state=self.optimizer.init(params),
            rule_state=self.rule.initial_state(params),
            replay=(),
        )
        return tree.canonical(state)

    def act(self, state: DiscoAgentState, obs: Any) -> Float[Array, " A"]:
        """The policy's logits at one observation."""
        return cast(jax.Array, self.network.apply({"params": state.params}, obs, method="policy"))

    def outputs(self, params: Params, obs: Any) -> DiscoOutput:
        """All outputs `[T, B, ...]` at observations `[T, B, ...]`."""
        one = jax.vmap(jax.vmap(lambda o: self.network.apply({"params": params}, o)))
        return cast(DiscoOutput, one(obs))

    def update(
        self,
        theta: Theta,
        state: DiscoAgentState,
        traj: Trajectory,
        behaviour: Float[Array, "T B A"],
        active: Bool[Array, ""],
    ) -> tuple[DiscoAgentState, Metrics, tuple[DiscoInputs, DiscoTargets]]:
        """One optimizer step on the rule's loss for a batch of trajectories.

        Args:
            theta: meta-parameters of the rule.
            state: the agent.
            traj: trajectories `[T, B, ...]`.
            behaviour: logits of the policy that took the actions.
            active: whether to make the update; else the state is returned unchanged.

        Returns:
            The new state; the loss, its terms, and the entropies of pi and y before the update, in nats; and the inputs
            and targets of the rule.
        """
        params, rule_state = state.params, state.rule_state
        out, pull = jax.vjp(lambda params: self.outputs(params, traj.obs), params)
        # one pass of the target network instead of two: a smaller program
        both = jax.tree.map(lambda now, following: jnp.concatenate([now, following]), traj.obs, traj.next_obs)
        target = self.outputs(rule_state.target_params, both)
        length = traj.reward.shape[0]
        inputs = DiscoInputs(
            traj=traj,
            behaviour=behaviour,
            out=out,
            out_next=self.outputs(params, traj.next_obs),
            target=jax.tree.map(lambda x: x[:length], target),
            target_next=jax.tree.map(lambda x: x[length:], target),
        )
        targets, rule_state = self.rule.targets(theta, rule_state, params, inputs)

        def loss(out: DiscoOutput) -> tuple[Array, Metrics]:
            return self.rule.loss(out, inputs, targets)

        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(out)
        updates, opt_state = self.optimizer.update(pull(grads)[0], state.opt_state, params)
        updated = state.replace(params=optax.apply_updates(params, updates), opt_state=opt_state, rule_state=rule_state)
        metrics |= {
            "loss": value,
            "policy_entropy": policies.entropy(out.policy).mean(),
            "prediction_entropy": policies.entropy(out.y).mean(),
            "lifetime_state": jnp.sqrt((rule_state.hidden**2).mean()),
        }
        return tree.where(active, updated, state), metrics, (inputs, targets)
