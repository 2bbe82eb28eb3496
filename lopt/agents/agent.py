"""Agents with a policy and a prediction: of trainable modules, with a value baseline, and an actor-critic with one
optimizer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import nets, returns, tree
from lopt.agents.statistics import NormaliseObservations
from lopt.agents.trainable import Trainable, TrainableState, apply_many
from lopt.optimizers import differentiable, layer_positions
from lopt.types import AgentOutput, Key, Metrics, Params, Policy, PyTree, Rates, Trajectory


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


class ActorCriticState(struct.PyTreeNode):
    """State of an `ActorCritic`.

    Attributes:
        params: parameters of both networks, `{"policy": ..., "prediction": ...}`.
        opt_state: the optimizer's state.
        obs_moments: running moments of the observations; `()` if they are not normalised.
    """

    params: Params
    opt_state: Any
    obs_moments: Any


@dataclass(frozen=True, kw_only=True)
class ActorCritic:
    """A policy network and a prediction network with one optimizer.

    Clipping by the optimizer applies to the gradient norm of both networks together, as in PPO. An optimizer that takes
    extra arguments gets those of `LearnedOptimizer`: `value`, `dormancy`, `layer_position` with the two networks
    numbered apart, `explore` (1 for the policy's parameters, 0 for the prediction's), and what the caller of `update`
    adds.

    Attributes:
        policy: network with logits `[A]`, or a `Gaussian` (`lopt.nets.GaussianPolicy`), as output.
        prediction: network with the prediction `[M]` as output; None for an agent without predictions.
        optimizer: an optax transformation of both networks' parameters.
        observations: normalisation of observations; None leaves them unchanged.
    """

    policy: nn.Module
    prediction: nn.Module | None
    optimizer: optax.GradientTransformation
    observations: NormaliseObservations | None = None

    def init(self, key: Key, obs: Any) -> ActorCriticState:
        """An initial agent; `obs` is one observation, which sets the shapes."""
        key_policy, key_prediction = jax.random.split(key)
        params = {"policy": self.policy.init(key_policy, obs)["params"]}
        if self.prediction is not None:
            params["prediction"] = self.prediction.init(key_prediction, obs)["params"]
        moments = self.observations.init(obs) if self.observations else ()
        state = ActorCriticState(params=params, opt_state=self.optimizer.init(params), obs_moments=moments)
        return tree.canonical(state)

    def act(self, state: ActorCriticState, obs: Any) -> Policy:
        """The policy at one observation of the environment, before normalisation."""
        return cast(Policy, self.policy.apply({"params": state.params["policy"]}, self.normalise(state, obs)))

    def normalise(self, state: ActorCriticState, obs: Any) -> Any:
        """One observation, normalised by the running moments."""
        return self.observations(state.obs_moments, obs) if self.observations else obs

    def predict(self, params: Params, obs: Any) -> Float[Array, " M"]:
        """The prediction at one normalised observation; empty for an agent without predictions."""
        if self.prediction is None:
            return jnp.zeros((0,))
        return cast(jax.Array, self.prediction.apply({"params": params["prediction"]}, obs))

    def outputs(self, params: Params, obs: PyTree) -> AgentOutput:
        """Policy `[T, B, ...]` and prediction `[T, B, M]` at normalised observations `[T, B, ...]`."""
        return self.outputs_and_activity(params, obs)[0]

    def outputs_and_activity(self, params: Params, obs: PyTree) -> tuple[AgentOutput, PyTree]:
        """`outputs`, and by network the mean activity of its neurons over the observations (`lopt.nets.dormancy`)."""

        def one(obs):
            policy, activity = nets.apply_with_activity(self.policy, params["policy"], obs)
            if self.prediction is None:
                return AgentOutput(policy=policy, prediction=jnp.zeros((0,))), {"policy": activity}
            prediction, of_prediction = nets.apply_with_activity(self.prediction, params["prediction"], obs)
            return AgentOutput(policy=policy, prediction=prediction), {"policy": activity, "prediction": of_prediction}

        out, activity = vmap_flat(one)(obs)
        return out, jax.tree.map(lambda a: a.mean((0, 1)), activity)

    def update(
        self,
        state: ActorCriticState,
        obs: PyTree,
        loss: Callable[[AgentOutput], tuple[Float[Array, ""], Metrics]],
        factor: Float[Array, ""],
        extra_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[ActorCriticState, Metrics]:
        """One optimizer step on `loss`, differentiated in the parameters of both networks.

        Args:
            state: the agent.
            obs: normalised observations `[T, B, ...]`.
            loss: function from the outputs at `obs` to a scalar and metrics.
            factor: multiplies the optimizer's update (annealing).
            extra_args: further arguments of the optimizer's update: `progress`, `batch_fraction`, `key`.

        Returns:
            The new state, and the metrics of `loss` with its value as "loss".
        """

        def of_params(params):
            out, activity = self.outputs_and_activity(params, obs)
            value, metrics = loss(out)
            return value, (metrics, activity)

        (value, (metrics, activity)), grads = jax.value_and_grad(of_params, has_aux=True)(state.params)
        extra = {
            "value": value,
            "dormancy": {name: nets.dormancy(activity[name], params) for name, params in state.params.items()},
            "layer_position": {name: layer_positions(params) for name, params in state.params.items()},
            "explore": {name: float(name == "policy") for name in state.params},
        }
        step = differentiable(self.optimizer).update
        updates, opt_state = step(grads, state.opt_state, state.params, **extra, **extra_args)
        params = optax.apply_updates(state.params, jax.tree.map(lambda u: factor * u, updates))
        return state.replace(params=params, opt_state=opt_state), {"loss": value, **metrics}


def vmap_flat(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree], PyTree]:
    """`vmap(vmap(f))` over axes `[T, B]`, computed as one `vmap` over T B rows.

    The gradients of the weights then need no transposed copies.
    """

    def mapped(x):
        length, width = jax.tree.leaves(x)[0].shape[:2]
        out = jax.vmap(f)(jax.tree.map(lambda x: x.reshape(length * width, *x.shape[2:]), x))
        return jax.tree.map(lambda x: x.reshape(length, width, *x.shape[1:]), out)

    return mapped
