"""Recurrent sequence models: GRU, LSTM, an LSTM with outer-product states, and variable shared meta-learning, in which
every weight is a small LSTM with shared parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.blocks import check_positive, check_sequence
from lopt.types import Key, Theta


class Stack(nn.Module):
    """Stacked recurrent layers, each applied to the whole sequence, and a linear output layer.

    Attributes:
        outputs: width of the output layer.
        layers: number of layers.
        layer: makes a module over a sequence from its name.
    """

    outputs: int
    layers: int
    layer: Callable[[str], nn.Module]

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        """Outputs `[T, outputs]` for the input tokens of one sequence."""
        for i in range(self.layers):
            tokens = self.layer(f"layer_{i}")(tokens)
        return nn.Dense(self.outputs, name="head")(tokens)


def orthogonal_gates(gates: int) -> nn.initializers.Initializer:
    """Initialiser of a matrix `[size, gates * size]` with an orthogonal block for every gate."""
    orthogonal = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        keys = jax.random.split(key, gates)
        return jnp.concatenate([orthogonal(k, (shape[0], shape[1] // gates), dtype) for k in keys], -1)

    return init


@dataclass(frozen=True, kw_only=True)
class GRU:
    """A GRU over the tokens concat(x_t, y_{t-1}), with a linear output layer on h.

    h_t = n + z (h_{t-1} - n) with update gate z, reset gate r and candidate n.

    Attributes:
        inputs: width of x.
        targets: width of the previous label `ys_prev[t]`.
        outputs: width of a prediction.
        width: of the state h.
        layers: number of stacked layers.

    Raises:
        ValueError: a size is below one.

    Paper: arXiv 1406.1078.
    Differs: the reset gate multiplies the recurrent product, as in `flax.linen.GRUCell`, and not the state.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs", "width", "layers")

    @property
    def _net(self) -> Stack:
        return Stack(self.outputs, self.layers, lambda name: _GRULayer(self.width, name=name))

    def init(self, key: Key) -> Theta:
        """Initial weights: input weights by fan-in, recurrent weights orthogonal for every gate."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """The state h of every layer, independent of `length`."""
        return self.width * self.layers


class _GRULayer(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "T E"]) -> Float[Array, "T width"]:
        # input products of all positions at once: only the recurrent product stays in the loop
        gates = nn.Dense(3 * self.width, name="input")(x)
        state = self.param("state", orthogonal_gates(3), (self.width, 3 * self.width))
        bias = self.param("bias_candidate", nn.initializers.zeros, (self.width,))

        def step(h: Array, gates: Array) -> tuple[Array, Array]:
            r, z, n = jnp.split(gates, 3)
            hr, hz, hn = jnp.split(h @ state, 3)
            z = nn.sigmoid(z + hz)
            n = jnp.tanh(n + nn.sigmoid(r + hr) * (hn + bias))
            h = n + z * (h - n)
            return h, h

        return jax.lax.scan(step, jnp.zeros((self.width,), x.dtype), gates)[1]


@dataclass(frozen=True, kw_only=True)
class LSTM:
    """An LSTM over the tokens concat(x_t, y_{t-1}), with a linear output layer on h.

    c_t = f c_{t-1} + i g and h_t = o tanh(c_t), with gates i, f, o and candidate g.

    Attributes:
        inputs: width of x.
        targets: width of the previous label `ys_prev[t]`.
        outputs: width of a prediction.
        width: of the states h and c.
        layers: number of stacked layers.
        forget: initial bias of the forget gate f.

    Raises:
        ValueError: a size is below one.

    Paper: arXiv 2212.04458 (its LSTM baseline).
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 128
    layers: int = 1
    forget: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs", "width", "layers")

    @property
    def _net(self) -> Stack:
        return Stack(self.outputs, self.layers, lambda name: _LSTMLayer(self.width, self.forget, name=name))

    def init(self, key: Key) -> Theta:
        """Initial weights: input weights by fan-in, recurrent weights orthogonal for every gate."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """The states h and c of every layer, independent of `length`."""
        return 2 * self.width * self.layers


class _LSTMLayer(nn.Module):
    width: int
    forget: float

    @nn.compact
    def __call__(self, x: Float[Array, "T E"]) -> Float[Array, "T width"]:
        # input products of all positions at once: only the recurrent product stays in the loop
        gates = nn.Dense(4 * self.width, name="input")(x)
        state = self.param("state", orthogonal_gates(4), (self.width, 4 * self.width))

        def step(carry: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            i, f, g, o = jnp.split(gates + h @ state, 4)
            c = nn.sigmoid(f + self.forget) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        initial = jnp.zeros((self.width,), x.dtype)
        return jax.lax.scan(step, (initial, initial), gates)[1]


@dataclass(frozen=True, kw_only=True)
class OuterProductLSTM:
    """An LSTM with a matrix state over the tokens concat(x_t, y_{t-1}), with a linear output layer.

    C_t = diag(f) C_{t-1} + (i v) k^T / sqrt(h) and out_t = o tanh(C_t q / sqrt(h)). The gates f, i, o (after a sigmoid)
    and the vectors v, k, q are linear in the layer's input at t and its output at t - 1. A layer of width h has h^2
    state variables, and a number of weights similar to that of an LSTM.

    Attributes:
        inputs: width of x.
        targets: width of the previous label `ys_prev[t]`.
        outputs: width of a prediction.
        width: h, rows and columns of C.
        layers: number of stacked layers.
        forget: initial bias of the forget gate f.

    Raises:
        ValueError: a size is below one.

    Paper: arXiv 2212.04458 (its LSTM with an outer-product state).
    Differs: the exact form of the paper's update is not known to us; this one is ours.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 64
    layers: int = 1
    forget: float = 3.0

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs", "width", "layers")

    @property
    def _net(self) -> Stack:
        return Stack(self.outputs, self.layers, lambda name: _OuterProductLayer(self.width, self.forget, name=name))

    def init(self, key: Key) -> Theta:
        """Initial weights: input weights by fan-in, recurrent weights orthogonal for every gate."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """The state C and the output of every layer, independent of `length`."""
        return (self.width**2 + self.width) * self.layers


class _OuterProductLayer(nn.Module):
    width: int
    forget: float

    @nn.compact
    def __call__(self, x: Float[Array, "T E"]) -> Float[Array, "T width"]:
        parts = nn.Dense(6 * self.width, name="input")(x)
        state = self.param("state", orthogonal_gates(6), (self.width, 6 * self.width))

        def step(carry: tuple[Array, Array], parts: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            i, f, o, v, k, q = jnp.split(parts + h @ state, 6)
            update = jnp.outer(nn.sigmoid(i) * v, k) * self.width**-0.5
            c = nn.sigmoid(f + self.forget)[:, None] * c + update
            h = nn.sigmoid(o) * jnp.tanh(c @ q * self.width**-0.5)
            return (h, c), h

        initial = jnp.zeros((self.width,), x.dtype), jnp.zeros((self.width, self.width), x.dtype)
        return jax.lax.scan(step, initial, parts)[1]


@dataclass(frozen=True, kw_only=True)
class VSML:
    """One layer of inputs x outputs cells: every cell is an LSTM with its own state, and all cells share theta.

    In every tick the inputs of cell (i, j) are x_i, the error e_j and the label y_j of the previous example, the
    backward message of input i and the forward message of output j. Then the messages are updated:
    forward_j = mean_i W h_ij, backward_i = mean_j V h_ij. The logit of class j is a linear readout of sum_i h_ij,
    divided by sqrt(inputs) and bounded to [-100, 100] by a tanh. The error is e = softmax(logits) - y, and zero before
    the first example. The size of theta depends neither on inputs nor on outputs, and a permutation of inputs or
    classes permutes the predictions.

    Attributes:
        inputs: width of x.
        targets: number of classes.
        outputs: number of classes, equal to `targets`.
        slow_size: width of a cell's states h and c.
        message_size: width of a message.
        ticks: state updates per example.
        forget: initial bias of the forget gate.

    Raises:
        ValueError: a size is below one, or `outputs` differs from `targets`.

    Paper: arXiv 2012.14905 (slow size 16, message size 8, 2 ticks).
    Differs: initial states are zero; the forget bias is +3 and the input bias 0, not +5 and -5; inputs and errors are
        separate from the messages; cells get both label and error.
    """

    inputs: int
    targets: int
    outputs: int
    slow_size: int = 16
    message_size: int = 8
    ticks: int = 2
    forget: float = 3.0

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs", "slow_size", "message_size", "ticks")
        if self.outputs != self.targets:
            raise ValueError(f"VSML: outputs must equal targets, one per class (got {self.outputs} and {self.targets})")

    @property
    def _net(self) -> nn.Module:
        return _Cells(self.slow_size, self.message_size, self.ticks, self.forget)

    def init(self, key: Key) -> Theta:
        """Initial weights of the shared cell, with variance 1 / fan-in."""
        return self._net.init(key, jnp.zeros((1, self.inputs)), jnp.zeros((1, self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Logits `[T, classes]` of y_t from x_1, ..., x_t and one-hot y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, xs, ys_prev))

    def state_size(self, length: int) -> int:
        """The states h and c of every cell, the messages and the last logits, independent of `length`."""
        cells = 2 * self.slow_size * self.inputs * self.targets
        return cells + self.message_size * (self.inputs + self.targets) + self.targets


class _Cells(nn.Module):
    slow_size: int
    message_size: int
    ticks: int
    forget: float

    @nn.compact
    def __call__(self, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T Y"]:
        size, lecun = self.slow_size, nn.initializers.lecun_normal()
        read = self.param("read", lecun, (3 + 2 * self.message_size, 4 * size))
        state = self.param("state", lecun, (size, 4 * size))
        bias = self.param("bias", nn.initializers.zeros, (4 * size,))
        send = self.param("send", lecun, (size, 2 * self.message_size))
        answer = self.param("answer", lecun, (size, 1))
        by_input, by_output = read[: 1 + self.message_size], read[1 + self.message_size :]

        def tick(carry: tuple[Array, ...], x: Array, feedback: Array) -> tuple[Array, ...]:
            h, c, forward, backward = carry
            # products with inputs that all cells of a row, or of a column, share are computed once
            rows = jnp.concatenate([x[:, None], backward], -1) @ by_input
            columns = jnp.concatenate([feedback, forward], -1) @ by_output
            i, f, g, o = jnp.split(rows[:, None] + columns[None] + h @ state + bias[None, None], 4, axis=-1)
            c = nn.sigmoid(f + self.forget) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            messages = h.mean(0) @ send[:, : self.message_size], h.mean(1) @ send[:, self.message_size :]
            return h, c, *messages

        def step(carry: tuple[Any, Array], token: tuple[Array, Array]) -> tuple[tuple[Any, Array], Array]:
            cells, logits = carry
            x, y = token
            error = (jax.nn.softmax(logits) - y) * y.sum()
            for _ in range(self.ticks):
                cells = tick(cells, x, jnp.stack([error, y], -1))
            readout = (cells[0].sum(0) @ answer)[:, 0] * len(x) ** -0.5
            logits = 100 * jnp.tanh(readout / 100)
            return (cells, logits), logits

        shape = xs.shape[1], ys_prev.shape[1]
        cells = jnp.zeros((*shape, size)), jnp.zeros((*shape, size))
        messages = tuple(jnp.zeros((n, self.message_size)) for n in reversed(shape))
        return jax.lax.scan(step, ((*cells, *messages), jnp.zeros(shape[1])), (xs, ys_prev))[1]
