"""An actor-critic agent: a policy and a prediction network trained by one optimizer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from lopt import nets, tree
from lopt.agents.statistics import NormaliseObservations
from lopt.optimizers import differentiable, layer_positions
from lopt.types import AgentOutput, Key, Metrics, Params, Policy, PyTree


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
