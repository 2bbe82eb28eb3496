"""Trainable modules: functions of the observation that are updated by the gradient of a loss in their *outputs*.

A network back-propagates that gradient to its parameters and applies an optax optimizer; a table updates the rows of
the visited states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import nets, tree
from lopt.optimizers import differentiable
from lopt.types import Key, Params, TabularObs


class TrainableState(struct.PyTreeNode):
    """Parameters of a trainable module, and its optimizer's state."""

    params: Params
    opt_state: Any


@runtime_checkable
class Trainable(Protocol):
    """A trainable module: a function from observations to F outputs, with its own optimizer."""

    @property
    def features(self) -> int:
        """F, the number of outputs."""
        ...

    def init(self, key: Key, obs: Any) -> TrainableState:
        """The initial state; `obs` is one observation, which sets the shapes."""
        ...

    def apply(self, params: Params, obs: Any) -> Float[Array, " F"]:
        """The outputs for one observation."""
        ...

    def update(
        self,
        state: TrainableState,
        obs: Any,
        grads: Float[Array, "T B F"],
        active: Bool[Array, ""],
        factor: Any = 1.0,
        extra_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> TrainableState:
        """One optimizer step that descends a loss.

        Args:
            state: parameters and optimizer state.
            obs: observations `[T, B, ...]`.
            grads: gradient of the loss in the outputs at `obs`.
            active: whether to make the step; else the state is returned unchanged.
            factor: multiplies the optimizer's update.
            extra_args: further arguments of the optimizer's update, see `LearnedOptimizer`; a module whose optimizer
                takes none ignores them.
        """
        ...


TrainableFactory = Callable[..., Trainable]
"""A function `factory(features=n)`: from the number of outputs to a trainable module."""


@dataclass(frozen=True, kw_only=True)
class TrainableNet:
    """A Flax network with an optax optimizer, whose update receives the parameters (weight decay works).

    A meta-gradient flows through the optimizer's steps. `lopt.optimizers.differentiable` keeps their derivatives finite
    where a parameter's second moment is zero, as behind a ReLU that was never active.

    Attributes:
        net: factory from the number of outputs to a Flax module for one observation.
        optimizer: an optax transformation.
        features: F, the number of outputs.

    Raises:
        ValueError: fewer than one output.
    """

    net: Callable[[int], nn.Module]
    optimizer: optax.GradientTransformation
    features: int

    def __post_init__(self) -> None:
        if not self.features >= 1:
            raise ValueError(f"TrainableNet: features must be at least 1 (got {self.features})")

    def init(self, key: Key, obs: Any) -> TrainableState:
        """Initial parameters and optimizer state; `obs` is one observation."""
        params = self.net(self.features).init(key, obs)["params"]
        return tree.canonical(TrainableState(params=params, opt_state=self.optimizer.init(params)))

    def apply(self, params: Params, obs: Any) -> Float[Array, " F"]:
        """The outputs for one observation."""
        return cast(jax.Array, self.net(self.features).apply({"params": params}, obs))

    def update(
        self,
        state: TrainableState,
        obs: Any,
        grads: Float[Array, "T B F"],
        active: Bool[Array, ""],
        factor: Any = 1.0,
        extra_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> TrainableState:
        """One step of the optimizer on the gradient in the parameters, see `Trainable.update`.

        The optimizer also gets the argument `dormancy` (`lopt.nets.dormancy`).
        """
        net = self.net(self.features)

        def outputs_and_activity(params):
            one = jax.vmap(jax.vmap(lambda o: nets.apply_with_activity(net, params, o)))
            return one(obs)

        _, pull, activity = jax.vjp(outputs_and_activity, state.params, has_aux=True)
        dormancy = nets.dormancy(jax.tree.map(lambda a: a.mean((0, 1)), activity), state.params)
        step = differentiable(self.optimizer).update
        updates, opt_state = step(pull(grads)[0], state.opt_state, state.params, dormancy=dormancy, **extra_args)
        updates = jax.tree.map(lambda u: factor * u, updates)
        updated = TrainableState(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
        return tree.where(active, updated, state)


@dataclass(frozen=True, kw_only=True)
class TrainableTable:
    """A table over `TabularObs`, trained by SGD with its gradient clipped by global norm.

    It computes the same values and derivatives as
    `TrainableNet(partial(Tabular, num_states), optax.chain(clip_by_global_norm, sgd))`, but its backward pass stores
    and reads the visited rows only, and not the whole table.

    Attributes:
        num_states: rows of the table.
        learning_rate: of SGD.
        max_norm: global norm that the gradient is clipped to.
        features: F, the number of outputs.

    Raises:
        ValueError: a number that is not positive.
    """

    num_states: int
    learning_rate: float
    max_norm: float
    features: int

    def __post_init__(self) -> None:
        for name in ("num_states", "learning_rate", "max_norm", "features"):
            if not getattr(self, name) > 0:
                raise ValueError(f"TrainableTable: {name} must be positive (got {getattr(self, name)})")

    def init(self, key: Key, obs: TabularObs) -> TrainableState:
        """The initial table, see `lopt.nets.Tabular`; SGD has no state."""
        return TrainableState(
            params=nets.Tabular(self.num_states, self.features).init(key, obs)["params"], opt_state=()
        )

    def apply(self, params: Params, obs: TabularObs) -> Float[Array, " F"]:
        """The outputs for one observation."""
        return nets.look_up(params, obs)

    def update(
        self,
        state: TrainableState,
        obs: TabularObs,
        grads: Float[Array, "T B F"],
        active: Bool[Array, ""],
        factor: Any = 1.0,
        extra_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> TrainableState:
        """One clipped SGD step on the visited rows and the time weights, see `Trainable.update`."""
        rate = jnp.where(active, self.learning_rate * factor, 0.0)
        rows, time_weights = _sgd(
            state.params["rows"],
            state.params["time"],
            grads.reshape(-1, self.features),
            obs.index.ravel(),
            obs.time.ravel(),
            rate,
            jnp.asarray(self.max_norm),
        )
        return state.replace(params={"rows": rows, "time": time_weights})


def apply_many(module: Trainable, params: Params, obs: Any) -> Float[Array, "T B F"]:
    """A trainable module's outputs for observations `[T, B, ...]`."""
    return jax.vmap(jax.vmap(lambda o: module.apply(params, o)))(obs)


@jax.custom_vjp
def _sgd(rows, time_weights, grads, index, time, rate, max_norm):
    """`(rows - s G, time_weights - s h)`, with s = rate min(1, max_norm / |(G, h)|).

    G = sum_i e(index_i) grads_i and h = sum_i time_i grads_i are the gradients in the rows and in the time weights.
    """
    return _sgd_forward(rows, time_weights, grads, index, time, rate, max_norm)[0]


def _sgd_forward(rows, time_weights, grads, index, time, rate, max_norm):
    dense = jnp.zeros_like(rows).at[index].add(grads)
    h = time @ grads
    norm = jnp.sqrt((dense**2).sum() + (h**2).sum())
    clipped = norm >= max_norm
    scale = rate * jnp.where(clipped, max_norm / norm, 1.0)
    out = (rows - scale * dense, time_weights - scale * h)
    return out, (grads, dense[index], h, index, time, scale, jnp.where(clipped, norm, jnp.inf))


def _sgd_backward(residuals, cotangent):
    grads, gathered, h, index, time, scale, norm = residuals
    d_rows, d_time = cotangent
    d_visited = d_rows[index]
    # <cotangent, (G, h)>, summed over visits instead of over the table
    inner = (d_visited * grads).sum() + (d_time * h).sum()
    # d scale / d(G, h) = - scale (G, h) / norm^2 where clipped
    back = inner * scale / norm**2
    d_grads = back * gathered - scale * d_visited
    d_grads = d_grads + time[:, None] * (back * h - scale * d_time)[None, :]
    return d_rows, d_time, d_grads, None, None, None, None


_sgd.defvjp(_sgd_forward, _sgd_backward)
