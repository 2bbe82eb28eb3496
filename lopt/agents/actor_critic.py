"""An agent whose policy and prediction are moved together, by one optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from lopt import tree
from lopt.agents.statistics import NormaliseObservations
from lopt.optimizers import differentiable
from lopt.types import AgentOutput, Key, Metrics, Params, Policy, PyTree


class ActorCriticState(struct.PyTreeNode):
    """Parameters of both networks, the optimizer's state, and the moments of the observations (or `()`)."""

    params: Params
    opt_state: Any
    seen: Any


@dataclass(frozen=True)
class ActorCritic:
    """Two networks and one optimizer, so that one norm of the gradient is clipped.

    Attributes:
        policy: gives logits `[A]`, or a `Gaussian` (`lopt.nets.GaussianPolicy`).
        prediction: gives the prediction, `[M]`; None for an agent without predictions.
        optimizer: an optax transformation of both networks' parameters.
        observations: how observations are normalised; None leaves them as they are.
    """

    policy: nn.Module
    prediction: nn.Module | None
    optimizer: optax.GradientTransformation
    observations: NormaliseObservations | None = None

    def init(self, key: Key, obs: Any) -> ActorCriticState:
        """A newborn agent, from one observation."""
        key_policy, key_prediction = jax.random.split(key)
        params = {"policy": self.policy.init(key_policy, obs)["params"]}
        if self.prediction is not None:
            params["prediction"] = self.prediction.init(key_prediction, obs)["params"]
        seen = self.observations.init(obs) if self.observations else ()
        return tree.canonical(ActorCriticState(params=params, opt_state=self.optimizer.init(params), seen=seen))

    def act(self, state: ActorCriticState, obs: Any) -> Policy:
        """The policy at one observation, as the environment gives it."""
        return cast(Policy, self.policy.apply({"params": state.params["policy"]}, self.normalise(state, obs)))

    def normalise(self, state: ActorCriticState, obs: Any) -> Any:
        """An observation as the networks see it."""
        return self.observations(state.seen, obs) if self.observations else obs

    def predict(self, params: Params, obs: Any) -> Float[Array, " M"]:
        """The prediction at one normalised observation."""
        if self.prediction is None:
            return jnp.zeros((0,))
        return cast(jax.Array, self.prediction.apply({"params": params["prediction"]}, obs))

    def outputs(self, params: Params, obs: PyTree) -> AgentOutput:
        """Policy and prediction at normalised observations `[T, B, ...]`."""

        def one(obs):
            policy = self.policy.apply({"params": params["policy"]}, obs)
            return AgentOutput(policy=policy, prediction=self.predict(params, obs))

        return vmap_flat(one)(obs)

    def update(
        self,
        state: ActorCriticState,
        obs: PyTree,
        loss: Callable[[AgentOutput], tuple[Float[Array, ""], Metrics]],
        rate: Float[Array, ""],
    ) -> tuple[ActorCriticState, Metrics]:
        """One step of the optimizer, times `rate`, against the gradient of `loss` in the parameters.

        `obs` are normalised; the metrics are those of `loss`, with its value as "loss".
        """

        def of_params(params):
            return loss(self.outputs(params, obs))

        (value, told), grads = jax.value_and_grad(of_params, has_aux=True)(state.params)
        updates, opt_state = differentiable(self.optimizer).update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, jax.tree.map(lambda u: rate * u, updates))
        return state.replace(params=params, opt_state=opt_state), {"loss": value, **told}


def vmap_flat(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree], PyTree]:
    """`vmap(vmap(f))` as one `vmap` over both axes: the gradients of the weights need no transposed copies then."""

    def mapped(x):
        length, width = jax.tree.leaves(x)[0].shape[:2]
        out = jax.vmap(f)(jax.tree.map(lambda x: x.reshape(length * width, *x.shape[2:]), x))
        return jax.tree.map(lambda x: x.reshape(length, width, *x.shape[1:]), out)

    return mapped
