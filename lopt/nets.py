"""Small Flax (linen) networks. Each is written for one observation; the caller vmaps.

Agents take a factory from the number of outputs to a module (`functools.partial(Tabular, num_states)`), from which
policy, prediction and value function each get a network of their own width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lopt.types import Gaussian, Key, Params, PyTree, TabularObs


def look_up(params: Params, obs: TabularObs) -> Float[Array, " features"]:
    """Outputs of `Tabular` at one observation: rows[index] + time * w, with w the weights of the time feature."""
    return params["rows"][obs.index] + obs.time * params["time"]


def orthogonal(scale: float = 1.0) -> nn.initializers.Initializer:
    """The initialiser `jax.nn.initializers.orthogonal(scale)`, for networks of which many are initialised side by side.

    It is a function `(key, shape, dtype)` to an array of that shape, of at least two axes, whose columns or rows over
    the last axis are orthogonal and of length `scale`.

    Under `vmap` the matrices are factored one after the other. Batched QR decompositions of two tensors can block each
    other for ever on a CPU of two cores (jaxlib 0.10): each occupies one of the two threads and waits for the other.
    """
    initialise = nn.initializers.orthogonal(scale)

    def init(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.custom_batching.sequential_vmap(lambda key: initialise(key, shape, dtype))(key)

    return init


truncated_lecun = nn.initializers.variance_scaling(0.87962566103423978**2, "fan_in", "truncated_normal")
"""Initialiser: a normal of standard deviation 1 / sqrt(fan-in) truncated at two of them (that of haiku's layers)."""


def record_activity(module: nn.Module, layer: str, activity: Float[Array, " neurons"]) -> None:
    """Record the activity of a layer's neurons in the collection "activity", from which `dormancy` is computed.

    Only `apply(..., mutable=["activity"])` keeps it; nothing is computed otherwise.

    Args:
        module: the module that is being called.
        layer: name of the layer among the module's parameters.
        activity: mean absolute activation of each neuron; of an output layer, the mean absolute output.
    """
    if not module.is_initializing():
        module.sow("activity", f"after_{layer}", activity)


def apply_with_activity(net: nn.Module, params: Params, x: Any) -> tuple[Any, PyTree]:
    """A network's output, and the collection "activity" that its modules recorded (`record_activity`)."""
    out, collections = net.apply({"params": params}, x, mutable=["activity"])
    return out, collections.get("activity", {})


def dormancy(activity: PyTree, params: Params) -> PyTree:
    """The dormancy of the neuron that each parameter feeds, a tree like `params` whose leaves broadcast to it.

    The dormancy of a neuron is its activity a_i divided by the mean activity of its layer,

        a_i / (1/H sum_j a_j + 1e-8),

    along the last axis of a parameter, with all other axes of size 1. It is 1 for layers without a record.

    Args:
        activity: the collection "activity" of a network whose modules called `record_activity`; averaged over the batch
            (each record is an array `[H]`).
        params: the network's parameters.

    Paper: arXiv 2302.12902 (dormant neurons); an input of OPEN, arXiv 2407.07082, with the output layer's activity.
    """

    def of_leaf(path: Any, leaf: Array) -> Array:
        layer: Any = activity
        for entry in path[:-2]:
            layer = layer.get(entry.key, {})
        if len(path) < 2 or f"after_{path[-2].key}" not in layer:
            return jnp.ones((1,) * leaf.ndim)
        (recorded,) = layer[f"after_{path[-2].key}"]
        return (recorded / (recorded.mean() + 1e-8)).reshape((1,) * (leaf.ndim - 1) + (-1,))

    return jax.tree.map_with_path(of_leaf, params)


class Tabular(nn.Module):
    """A table of outputs: a linear map of the one-hot state index and the time feature, computed as a gather.

    The rows are initialised with variance 1 / fan-in, of fan-in `num_states + 1`; the weights of time with zero.

    Attributes:
        num_states: rows of the table.
        features: the number of outputs.
    """

    num_states: int
    features: int

    @nn.compact
    def __call__(self, obs: TabularObs) -> Float[Array, " features"]:
        """Outputs for one observation."""
        init = nn.initializers.normal((self.num_states + 1) ** -0.5)
        rows = self.param("rows", init, (self.num_states, self.features))
        # zero, since a random initialiser of these few weights would take as long to compile as that of the rows
        time = self.param("time", nn.initializers.zeros, (self.features,))
        return look_up({"rows": rows, "time": time}, obs)


class MLP(nn.Module):
    """A multi-layer perceptron over the observation's leaves, flattened and concatenated.

    PPO's networks are `partial(MLP, (256, 256), activation=nn.tanh, hidden_init=orthogonal(2**0.5),
    output_init=orthogonal(scale))`, scale 0.01 for a policy and 1 for a value.

    Attributes:
        hidden: widths of the hidden layers.
        features: the number of outputs.
        activation: of the hidden layers.
        hidden_init, output_init: initialisers of the weights; biases start at zero.
    """

    hidden: Sequence[int]
    features: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    hidden_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    output_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, obs: Any) -> Float[Array, " features"]:
        """Outputs for one observation."""
        x = jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(obs)])
        for i, width in enumerate(self.hidden):
            x = self.activation(nn.Dense(width, kernel_init=self.hidden_init)(x))
            record_activity(self, f"Dense_{i}", jnp.abs(x))
        out = nn.Dense(self.features, kernel_init=self.output_init)(x)
        record_activity(self, f"Dense_{len(self.hidden)}", jnp.abs(out))
        return out


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian policy: a network for the means, and log standard deviations that are free parameters.

    Attributes:
        mean: factory from A to the network of the means (`partial(MLP, (256, 256))`).
        features: A, the number of entries of an action.
        log_std: initial log standard deviation of every entry; it does not depend on the observation.
    """

    mean: Callable[[int], nn.Module]
    features: int
    log_std: float = 0.0

    @nn.compact
    def __call__(self, obs: Any) -> Gaussian:
        """The policy for one observation."""
        log_std = self.param("log_std", nn.initializers.constant(self.log_std), (self.features,))
        return Gaussian(mean=self.mean(self.features)(obs), log_std=log_std)


class Conv(nn.Module):
    """3x3 convolutions over the leaves `[height, width, channels]`, followed by an MLP; ReLU activations.

    Leaves of lower rank are concatenated to the flattened output of the convolutions.

    Attributes:
        channels: output channels of the convolutions.
        hidden: widths of the MLP's hidden layers.
        features: the number of outputs.
    """

    channels: Sequence[int]
    hidden: Sequence[int]
    features: int

    @nn.compact
    def __call__(self, obs: Any) -> Float[Array, " features"]:
        """Outputs for one observation."""
        leaves = [jnp.asarray(leaf, jnp.float32) for leaf in jax.tree.leaves(obs)]
        x = jnp.concatenate([leaf for leaf in leaves if leaf.ndim == 3], axis=-1)
        for i, width in enumerate(self.channels):
            x = nn.relu(nn.Conv(width, (3, 3))(x))
            record_activity(self, f"Conv_{i}", jnp.abs(x).mean((0, 1)))
        rest = [leaf for leaf in leaves if leaf.ndim < 3]
        return MLP(self.hidden, self.features)([x, *rest])


def _sigmoid(x):
    # XLA's logistic on CPU is an order of magnitude slower than its tanh
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


def _gates(gx, gh, h):
    size = h.shape[-1]
    r = _sigmoid(gx[..., :size] + gh[..., :size])
    z = _sigmoid(gx[..., size : 2 * size] + gh[..., size : 2 * size])
    n = jnp.tanh(gx[..., 2 * size :] + r * gh[..., 2 * size :])
    return r, z, n


@jax.custom_vjp
def reverse_gru(
    x: Float[Array, "T *b F"],
    reset: Bool[Array, " T *b"],
    wi: Float[Array, "F H3"],
    bi: Float[Array, " H3"],
    wh: Float[Array, "H H3"],
    bn: Float[Array, " H"],
) -> Float[Array, "T *b H"]:
    """Hidden states of a GRU that runs from the last step to the first, starting from zeros.

    With h = 0 where reset, g = x wi + bi, and the gates r, z, n along the columns:

        r = sigmoid(g_r + h wh_r)
        z = sigmoid(g_z + h wh_z)
        n = tanh(g_n + r (h wh_n + bn))
        h' = n + z (h - n)

    The backward pass is hand-written. It stores r, z, n, h and h wh_n + bn of every step; its loop carries dh alone,
    and the gradients of the weights are computed after it, as products over all steps at once. Reverse mode only.

    Args:
        x: inputs.
        reset: where the state is set to zero before the step's input is read.
        wi: input weights; H3 = 3 H.
        bi: input biases.
        wh: recurrent weights.
        bn: recurrent bias of n.

    Paper: arXiv 1406.1078.
    Differs: the reset gate multiplies h wh_n + bn and not h, as in `flax.linen.GRUCell`.
    """
    return _reverse_gru_forward(x, reset, wi, bi, wh, bn)[0]


def _reverse_gru_forward(x, reset, wi, bi, wh, bn):
    size = wh.shape[0]
    bh = jnp.concatenate([jnp.zeros(2 * size, bn.dtype), bn])

    def body(h, step):
        x, reset = step
        h = jnp.where(reset[..., None], 0.0, h)
        gh = h @ wh + _like(bh, x)
        r, z, n = _gates(x @ wi + _like(bi, x), gh, h)
        after = n + z * (h - n)
        return after, (after, (r, z, n, gh[..., 2 * size :], h))

    h0 = jnp.zeros((*x.shape[1:-1], size), x.dtype)
    states, gates = jax.lax.scan(body, h0, (x, reset), reverse=True)[1]
    return states, (x, reset, wi, wh, gates)


def _reverse_gru_backward(residuals, d_states):
    x, reset, wi, wh, gates = residuals
    size = wh.shape[0]

    def body(dh, step):
        (r, z, n, ghn, h), reset, d_state = step
        dh = dh + d_state
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * ghn * r * (1 - r)
        dgh = jnp.concatenate([dr, dz, dn * r], -1)
        return jnp.where(reset[..., None], 0.0, dh * z + dgh @ wh.T), (dgh, dn)

    dgh, dn = jax.lax.scan(body, jnp.zeros_like(d_states[0]), (gates, reset, d_states))[1]
    dgx = jnp.concatenate([dgh[..., : 2 * size], dn], -1)
    rows, state_rows, input_rows, h = (a.reshape(-1, a.shape[-1]) for a in (x, dgh, dgx, gates[4]))
    d_bn = state_rows[:, 2 * size :].sum(0)
    return dgx @ wi.T, None, rows.T @ input_rows, input_rows.sum(0), h.T @ state_rows, d_bn


reverse_gru.defvjp(_reverse_gru_forward, _reverse_gru_backward)


class ReverseGRU(nn.Module):
    """A GRU that runs from the last step to the first; the state is zeroed at a `reset` step before its input.

    The weights are shared by all that the caller vmaps over, so that a batch of agents is one matrix product per step.
    The input projection is computed inside the loop: its operand is a few numbers wide, and writing the projected
    `[T, ..., 3H]` to memory and reading it back costs more than the product (2x, measured on CPU).

    Attributes:
        size: H, the width of the state.
    """

    size: int

    @nn.compact
    def __call__(self, x: Float[Array, "T *b F"], reset: Bool[Array, " T *b"]) -> Float[Array, "T *b H"]:
        """Hidden states `[T, ..., size]`."""
        size = self.size
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros_init()
        orthogonal = nn.initializers.orthogonal()

        def three_orthogonal(key, shape):
            return jnp.concatenate([orthogonal(k, (shape[0], size)) for k in jax.random.split(key, 3)], -1)

        wi = self.param("input", lecun, (x.shape[-1], 3 * size))
        bi = self.param("bias", zeros, (3 * size,))
        wh = self.param("state", three_orthogonal, (size, 3 * size))
        bn = self.param("bias_candidate", zeros, (size,))
        return reverse_gru(x, reset, wi, bi, wh, bn)


def lstm_step(
    weights: tuple[Any, Any, Any],
    x: Float[Array, "*b F"],
    state: tuple[Float[Array, "*b H"], Float[Array, "*b H"]],
) -> tuple[Float[Array, "*b H"], Float[Array, "*b H"]]:
    """One step of an LSTM, `(h, c)`: with x wi + h wh + bias split into i, f, g, o along the columns,

        c' = sigmoid(f) c + sigmoid(i) tanh(g),        h' = sigmoid(o) tanh(c').

    Args:
        weights: input weights wi `[F, 4H]`, recurrent weights wh `[H, 4H]`, and bias `[4H]`.
        x: inputs.
        state: `(h, c)`.
    """
    (wi, wh, bias), (h, c) = weights, state
    i, f, g, o = jnp.split(x @ wi + h @ wh + _like(bias, x), 4, axis=-1)
    c = _sigmoid(f) * c + _sigmoid(i) * jnp.tanh(g)
    return _sigmoid(o) * jnp.tanh(c), c


def _lstm_weights(module, inputs):
    """The weights of `lstm_step` as parameters of a module with the attributes of `LSTM`."""
    size, joint = module.size, module.joint_init
    orthogonal = nn.initializers.orthogonal()

    def four_orthogonal(key, shape):
        return jnp.concatenate([orthogonal(k, (shape[0], size)) for k in jax.random.split(key, 4)], -1)

    def rows(part):
        return lambda key, shape: joint(key, (inputs + size, 4 * size))[part]

    input_init = nn.initializers.lecun_normal() if joint is None else rows(slice(inputs))
    state_init = four_orthogonal if joint is None else rows(slice(inputs, None))
    wi = module.param("input", input_init, (inputs, 4 * size))
    wh = module.param("state", state_init, (size, 4 * size))
    gates = jnp.repeat(jnp.array([0.0, module.forget_bias, 0.0, 0.0]), size)
    return wi, wh, module.param("bias", lambda key, shape: gates, (4 * size,))


class LSTM(nn.Module):
    """One step of an LSTM from a given state (`lstm_step`).

    Attributes:
        size: H, the width of the state.
        joint_init: initialiser of the matrix `[F + H, 4H]` of input and recurrent weights; None for LeCun normal input
            weights and orthogonal recurrent ones.
        forget_bias: initial bias of the forget gate.
    """

    size: int
    joint_init: nn.initializers.Initializer | None = None
    forget_bias: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b F"], state: tuple[Float[Array, "*b H"], Float[Array, "*b H"]]
    ) -> tuple[Float[Array, "*b H"], Float[Array, "*b H"]]:
        """The state `(h, c)` after the step."""
        return lstm_step(_lstm_weights(self, x.shape[-1]), x, state)


class ReverseLSTM(nn.Module):
    """An LSTM that runs from the last step to the first; the state is zeroed at a `reset` step before its input.

    Attributes:
        size, joint_init, forget_bias: as of `LSTM`.
    """

    size: int
    joint_init: nn.initializers.Initializer | None = None
    forget_bias: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "T *b F"], reset: Bool[Array, " T *b"]) -> Float[Array, "T *b H"]:
        """Hidden states `[T, ..., size]`."""
        weights = _lstm_weights(self, x.shape[-1])

        def body(carry, step):
            x, reset = step
            state = lstm_step(weights, x, jax.tree.map(lambda s: jnp.where(reset[..., None], 0.0, s), carry))
            return state, state[0]

        h0 = jnp.zeros((*x.shape[1:-1], self.size), x.dtype)
        return jax.lax.scan(body, (h0, h0), (x, reset), reverse=True)[1]


def _like(bias, x):
    """`bias` reshaped to the rank of `x` with leading axes of one (the tests forbid implicit rank promotion)."""
    return bias.reshape((1,) * (x.ndim - 1) + bias.shape)
