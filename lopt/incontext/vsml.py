"""Variable shared meta-learning: every weight is a small LSTM with shared parameters, as an in-context learner."""

from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.blocks import check_positive, check_sequence
from lopt.types import Key, Theta


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
