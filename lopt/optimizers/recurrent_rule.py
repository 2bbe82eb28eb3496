"""Recurrent learned optimizers: an LSTM for every coordinate (arXiv 1606.04474), and a hierarchy in which a recurrent
network per tensor controls a network per parameter.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt.optimizers import features
from lopt.optimizers.arguments import at_least_float32, check_number, check_widths
from lopt.optimizers.per_parameter import apply, apply_to_all, bounded_step, check_theta, perceptron, transformation
from lopt.types import Key, Params, Progress, PyTree, Theta


class LSTMState(NamedTuple):
    """Recurrent states of all coordinates, cell and hidden state of each layer: `[*shape, 2 layers hidden]`."""

    recurrent: PyTree


class LSTMNet(nn.Module):
    """Stacked LSTMs and a linear output, with the same weights for every row."""

    hidden: int
    layers: int

    @nn.compact
    def __call__(self, states: Float[Array, "*s S"], rows: Float[Array, "*s 2"]):
        """The new states `[*s, S]`, and one output per row, `[*s, 1]`."""
        new_states, x = [], rows
        for layer in range(self.layers):
            c, h = jnp.split(states[..., 2 * layer * self.hidden : 2 * (layer + 1) * self.hidden], 2, -1)
            (c, h), x = nn.OptimizedLSTMCell(self.hidden)((c, h), x)
            new_states += [c, h]
        return jnp.concatenate(new_states, -1), nn.Dense(1)(x)


@dataclass(frozen=True, kw_only=True)
class LSTMRule:
    """Learned optimizer x <- x - scale LSTM(preprocessed gradient): one small LSTM per coordinate, with shared weights.

    A gradient g is preprocessed to (log|g| / p, sign g) where |g| >= e^-p, else to (-1, e^p g).

    Attributes:
        hidden: width of each LSTM.
        layers: number of stacked LSTMs.
        scale: scale of the output.
        p: the threshold of the preprocessing is |g| = e^-p.

    Raises:
        ValueError: a size below one; a `scale` or `p` that is not positive.

    Paper: arXiv 1606.04474, section 2 and appendix A. Differs: the output is subtracted, not added.
    """

    hidden: int = 20
    layers: int = 2
    scale: float = 0.1
    p: float = 10.0

    def __post_init__(self) -> None:
        for name in ("hidden", "layers"):
            check_number("LSTMRule", name, getattr(self, name), least=1)
        for name in ("scale", "p"):
            check_number("LSTMRule", name, getattr(self, name), above=0)

    @property
    def _net(self) -> LSTMNet:
        return LSTMNet(self.hidden, self.layers)

    def init(self, key: Key) -> Theta:
        """Flax's initial parameters of the network."""
        return self._net.init(key, jnp.zeros((1, 2 * self.layers * self.hidden)), jnp.zeros((1, 2)))["params"]

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation with meta-parameters theta; `update` works without the parameters."""
        check_theta("LSTMRule", theta, jax.eval_shape(self.init, jax.random.key(0)))

        def init(params: Params) -> LSTMState:
            return LSTMState(jax.tree.map(lambda p: features.zeros(p, 2 * self.layers * self.hidden), params))

        def update(grads: PyTree, state: LSTMState, params: Params, **extra: Any) -> tuple[PyTree, LSTMState]:
            inputs = jax.tree.map(lambda g: preprocess_gradient(g, self.p), grads)
            new_states, out = apply_to_all(self._net, theta, state.recurrent, inputs)
            return jax.tree.map(lambda o: self.scale * o[..., 0], out), LSTMState(new_states)

        return transformation("LSTMRule", init, update, needs_params=False)


def preprocess_gradient(gradient: Float[Array, "*s"], p: float) -> Float[Array, "*s 2"]:
    """The two inputs of the LSTM for each gradient element: scaled log-magnitude and sign, both about in [-1, 1].

    Paper: arXiv 1606.04474, appendix A.
    """
    size = jnp.abs(gradient)
    large = size >= jnp.exp(-p)
    first = jnp.where(large, jnp.log(jnp.where(large, size, 1.0)) / p, -1.0)
    return jnp.stack([first, jnp.where(large, jnp.sign(gradient), jnp.exp(p) * gradient)], -1)


MOMENTA, SQUARES = (0.5, 0.9, 0.99, 0.999), (0.999,)
PER_PARAMETER = 2 + 2 * len(MOMENTA) + 1
PER_TENSOR = 2 + len(MOMENTA) + 1 + 5 + 2 + 1 + len(features.TIME_SCALES)


class HierarchicalState(NamedTuple):
    """Number of updates so far, momenta and second moments `[*shape, k]`, and the GRU's state per tensor
    `[recurrent]`."""

    count: Int[Array, ""]  # type: ignore[assignment]
    momenta: PyTree
    squares: PyTree
    hidden: PyTree


class TensorNet(nn.Module):
    """A GRU with one state per tensor, which also sees the mean of all states; L tensors, H recurrent units."""

    recurrent: int
    control: int

    @nn.compact
    def __call__(self, hidden: Float[Array, "L H"], inputs: Float[Array, "L F"]):
        """The new states, the control vectors `[L, control]` and the log step sizes c_0 `[L]`."""
        mean_state = jnp.broadcast_to(hidden.mean(0, keepdims=True), hidden.shape)
        hidden, x = nn.GRUCell(self.recurrent)(hidden, jnp.concatenate([inputs, mean_state], -1))
        return hidden, nn.Dense(self.control)(x), nn.Dense(1)(x)[:, 0]


@dataclass(frozen=True, kw_only=True)
class HierarchicalRule:
    """Learned optimizer x <- x - step_size exp(c_0) d exp(exponent m), with an MLP per parameter and a GRU per tensor.

    The GRU's inputs for each tensor are the logarithms of the root mean squares of g, p, the momenta and the second
    moment, the rank (one-hot, up to 4), the loss, the training progress in [0, 1], 11 features of the number of
    updates, and the mean state of all tensors after the previous update. Its outputs are c_0 and a control vector. The
    MLP's inputs are the control vector and g, p, momenta m, 1 / sqrt v and m / sqrt v, each divided by its root mean
    square over the tensor; its outputs are (d, m).

    The loss (`value` of `update`) enters as (sign, log(1 + |value|)). Without `value` both are 0; without `progress`
    the training progress is 0.

    Attributes:
        recurrent: width of the GRU.
        control: width of the control vector.
        hidden: widths of the ReLU layers of the network per parameter.
        step_size: scale of the direction d.
        exponent: scale of the log-magnitude m.

    Raises:
        ValueError: a size below one, a `step_size` or `exponent` that is not positive.

    Paper: arXiv 2009.11243 (RNN and MLP, in two levels), after arXiv 1703.04813. Differs: a GRU where they have an
        LSTM, fewer features per tensor, and the loss of the step alone instead of its running means; the output layer
        is initialised ten times smaller.
    """

    recurrent: int = 32
    control: int = 8
    hidden: tuple[int, ...] = (16, 16)
    step_size: float = 1e-3
    exponent: float = 1e-3

    def __post_init__(self) -> None:
        check_widths("HierarchicalRule", (self.recurrent, self.control, *self.hidden))
        check_number("HierarchicalRule", "step_size", self.step_size, above=0)
        check_number("HierarchicalRule", "exponent", self.exponent, above=0)

    @property
    def _nets(self) -> tuple[TensorNet, nn.Sequential]:
        return TensorNet(self.recurrent, self.control), perceptron(self.hidden, 2)

    def init(self, key: Key) -> Theta:
        """Flax's initial parameters of the two networks, under the names `tensor` and `parameter`."""
        key_tensor, key_parameter = jax.random.split(key)
        tensor, parameter = self._nets
        tensor_inputs, inputs = jnp.zeros((1, PER_TENSOR)), jnp.zeros((1, PER_PARAMETER + self.control))
        return {
            "tensor": tensor.init(key_tensor, jnp.zeros((1, self.recurrent)), tensor_inputs)["params"],
            "parameter": parameter.init(key_parameter, inputs)["params"],
        }

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation with meta-parameters theta; its `update` needs the parameters."""
        check_theta("HierarchicalRule", theta, jax.eval_shape(self.init, jax.random.key(0)))
        per_tensor, per_parameter = self._nets
        decays, slow = jnp.array(MOMENTA), jnp.array(SQUARES)

        def init(params: Params) -> HierarchicalState:
            return HierarchicalState(
                count=jnp.zeros((), jnp.int32),
                momenta=jax.tree.map(lambda p: features.zeros(p, len(MOMENTA)), params),
                squares=jax.tree.map(lambda p: features.zeros(p, len(SQUARES)), params),
                hidden=jax.tree.map(lambda p: jnp.zeros(self.recurrent, p.dtype), params),
            )

        def update(grads: PyTree, state: HierarchicalState, params: Params, **extra: Any):
            momenta = jax.tree.map(lambda m, g: features.accumulate(m, g, decays), state.momenta, grads)
            squares = jax.tree.map(lambda v, g: features.accumulate(v, jnp.square(g), slow), state.squares, grads)
            shared = _shared_features(state.count, extra)
            inputs = jax.tree.map(
                lambda g, p, m, v: tensor_features(g, p, m, v, shared), grads, params, momenta, squares
            )
            inputs, hidden = (jnp.stack(jax.tree.leaves(x)) for x in (inputs, state.hidden))
            hidden, control, log_size = apply(per_tensor, theta["tensor"], hidden, inputs)
            structure = jax.tree.structure(params)
            hidden, control, log_size = (jax.tree.unflatten(structure, [*x]) for x in (hidden, control, log_size))
            inputs = jax.tree.map(parameter_features, grads, params, momenta, squares, control)
            out = apply_to_all(per_parameter, theta["parameter"], inputs)
            step = jax.tree.map(
                lambda o, c: jnp.exp(c).astype(o.dtype) * bounded_step(o, self.step_size, self.exponent), out, log_size
            )
            hidden = jax.tree.map(lambda old, new: new.astype(old.dtype), state.hidden, hidden)
            return step, HierarchicalState(optax.safe_increment(state.count), momenta, squares, hidden)

        return transformation("HierarchicalRule", init, update)


def parameter_features(g: Array, p: Array, m: Array, v: Array, control: Float[Array, " C"]) -> Float[Array, "*s F"]:
    """Inputs of the network per parameter: normalised features and the tensor's control vector."""
    root = jax.lax.rsqrt(v + 1e-6)
    columns = features.normalise(jnp.concatenate([g[..., None], p[..., None], m, root, m * root], -1))
    return jnp.concatenate([columns, features.broadcast_to_tensor(control, p)], -1)


def tensor_features(g: Array, p: Array, m: Array, v: Array, shared: Float[Array, " C"]) -> Float[Array, " F"]:
    """Inputs of the network per tensor: log root mean squares, the rank, and the features shared by all tensors."""
    sizes = jnp.concatenate([g[..., None], p[..., None], m], -1)
    squares = features.mean(jnp.square(sizes), range(g.ndim)).ravel()
    moments = features.mean(v, range(g.ndim)).ravel()
    logs = 0.5 * jnp.log(jnp.concatenate([squares, moments]) + 1e-12) / 5
    rank = jax.nn.one_hot(min(g.ndim, 4), 5, dtype=logs.dtype)
    return jnp.concatenate([logs, rank, shared.astype(logs.dtype)])


def _shared_features(count: Int[Array, ""], extra: dict[str, Any]) -> Float[Array, " C"]:
    """Features shared by all tensors: sign and log-size of the loss, training progress, number of updates."""
    value = jnp.nan_to_num(at_least_float32(extra.get("value", 0.0)))
    size = jnp.log1p(jnp.abs(value))
    progress: Progress | None = extra.get("progress")
    fraction = jnp.zeros(()) if progress is None else progress.fraction
    return jnp.concatenate([jnp.stack([jnp.sign(value), size, fraction]), features.time(count).astype(size.dtype)])
