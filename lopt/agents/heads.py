"""One output of an agent: a function of the observation, and how a gradient of its outputs moves it.

A head is asked to move against the gradient of a loss in its *outputs* on a trajectory. A network turns that into a
gradient of its parameters and hands it to an optax optimizer; a table touches the rows that were visited.
"""

from collections.abc import Callable
from dataclasses import dataclass
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


class HeadState(struct.PyTreeNode):
    """Parameters and the state of what optimizes them."""

    params: Params
    opt_state: Any


@runtime_checkable
class Head(Protocol):
    """What `NetHead` and `TableHead` have in common."""

    @property
    def features(self) -> int:
        """The number of outputs."""
        ...

    def init(self, key: Key, obs: Any) -> HeadState:
        """A newborn head, from one observation."""
        ...

    def apply(self, params: Params, obs: Any) -> Float[Array, " F"]:
        """The outputs for one observation."""
        ...

    def update(
        self, state: HeadState, obs: Any, grads: Float[Array, "T B F"], alive: Bool[Array, ""], factor: Any = 1.0
    ) -> HeadState:
        """One optimizer step, times `factor`, against the gradient of a loss in the outputs; the identity where not
        `alive`."""
        ...


HeadFactory = Callable[[int], Head]
"""From the number of outputs to a head."""


@dataclass(frozen=True)
class NetHead:
    """A Flax network and an optax optimizer (parameters reach its update, so weight decay works).

    A meta-gradient goes through the optimizer's steps. Their derivatives are finite where a parameter's second moment
    is zero, as behind a ReLU that was never active (`lopt.optimizers.differentiable`, which also has an option that
    stops the gradient of Adam's denominator).

    Attributes:
        net: factory from the number of outputs to a module for one observation.
        optimizer: an optax transformation.
        features: the number of outputs.

    Raises:
        ValueError: fewer than one output.
    """

    net: Callable[[int], nn.Module]
    optimizer: optax.GradientTransformation
    features: int

    def __post_init__(self) -> None:
        if not self.features >= 1:
            raise ValueError(f"NetHead: features must be at least 1 (got {self.features})")

    def init(self, key: Key, obs: Any) -> HeadState:
        """A newborn network."""
        params = self.net(self.features).init(key, obs)["params"]
        return tree.canonical(HeadState(params=params, opt_state=self.optimizer.init(params)))

    def apply(self, params: Params, obs: Any) -> Float[Array, " F"]:
        """The outputs for one observation."""
        return cast(jax.Array, self.net(self.features).apply({"params": params}, obs))

    def update(
        self, state: HeadState, obs: Any, grads: Float[Array, "T B F"], alive: Bool[Array, ""], factor: Any = 1.0
    ) -> HeadState:
        """One step of the optimizer."""
        _, pull = jax.vjp(lambda params: apply_many(self, params, obs), state.params)
        step = differentiable(self.optimizer).update
        updates, opt_state = step(pull(grads)[0], state.opt_state, state.params)
        updates = jax.tree.map(lambda u: factor * u, updates)
        moved = HeadState(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
        return tree.where(alive, moved, state)


@dataclass(frozen=True)
class TableHead:
    """A table over `TabularObs`, trained by SGD with its gradient clipped by global norm.

    The same numbers as `NetHead(partial(Tabular, num_states), optax.chain(clip_by_global_norm, sgd))`, also when
    differentiated, but a backward pass stores and touches the rows that were visited and not the table.

    Attributes:
        num_states: rows.
        learning_rate: of SGD.
        max_norm: the gradient's norm is clipped to this.
        features: the number of outputs.

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
                raise ValueError(f"TableHead: {name} must be positive (got {getattr(self, name)})")

    def init(self, key: Key, obs: TabularObs) -> HeadState:
        """A newborn table."""
        return HeadState(params=nets.Tabular(self.num_states, self.features).init(key, obs)["params"], opt_state=())

    def apply(self, params: Params, obs: TabularObs) -> Float[Array, " F"]:
        """The outputs for one observation."""
        return nets.look_up(params, obs)

    def update(
        self, state: HeadState, obs: TabularObs, grads: Float[Array, "T B F"], alive: Bool[Array, ""], factor: Any = 1.0
    ) -> HeadState:
        """One clipped SGD step on the visited rows."""
        rate = jnp.where(alive, self.learning_rate * factor, 0.0)
        rows, time = _sgd(
            state.params["rows"],
            state.params["time"],
            grads.reshape(-1, self.features),
            obs.index.ravel(),
            obs.time.ravel(),
            rate,
            jnp.asarray(self.max_norm),
        )
        return state.replace(params={"rows": rows, "time": time})


def apply_many(head: Head, params: Params, obs: Any) -> Float[Array, "T B F"]:
    """A head's outputs for observations `[T, B, ...]`."""
    return jax.vmap(jax.vmap(lambda o: head.apply(params, o)))(obs)


@jax.custom_vjp
def _sgd(rows, time, grads, index, clock, rate, max_norm):
    """rows - s G and time - s h, with G = sum_i e(index_i) grads_i, h = sum_i clock_i grads_i, and
    s = rate min(1, max_norm / |(G, h)|)."""
    return _sgd_forward(rows, time, grads, index, clock, rate, max_norm)[0]


def _sgd_forward(rows, time, grads, index, clock, rate, max_norm):
    dense = jnp.zeros_like(rows).at[index].add(grads)
    h = clock @ grads
    norm = jnp.sqrt((dense**2).sum() + (h**2).sum())
    clipped = norm >= max_norm
    scale = rate * jnp.where(clipped, max_norm / norm, 1.0)
    out = (rows - scale * dense, time - scale * h)
    return out, (grads, dense[index], h, index, clock, scale, jnp.where(clipped, norm, jnp.inf))


def _sgd_backward(kept, cotangent):
    grads, gathered, h, index, clock, scale, norm = kept
    d_rows, d_time = cotangent
    d_visited = d_rows[index]
    # <cotangent, (G, h)>, summed over visits instead of over the table
    inner = (d_visited * grads).sum() + (d_time * h).sum()
    # d scale / d(G, h) = - scale (G, h) / norm^2 where clipped
    back = inner * scale / norm**2
    d_grads = back * gathered - scale * d_visited
    d_grads = d_grads + clock[:, None] * (back * h - scale * d_time)[None, :]
    return d_rows, d_time, d_grads, None, None, None, None


_sgd.defvjp(_sgd_forward, _sgd_backward)
