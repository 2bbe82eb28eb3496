"""Weights that are tiny recurrent nets with shared parameters, as an in-context learner."""

from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import at_least_one, fits
from lopt.types import Key, Theta


@dataclass(frozen=True)
class VSML:
    """One layer of inputs x outputs weights, each an LSTM with a state of its own and theta in common with all others.

    In a tick the cell of weight (i, j) reads x_i, the error e_j and the label y_j of the example before, the message
    that its input i had from all cells and the message that its output j had; then messages are sent:
    forward_j = mean_i W h_ij, backward_i = mean_j V h_ij. The prediction for class j is a number of forward_j, bounded
    at +-100; e = softmax(prediction) - y, zero where there was no example. theta has the size of neither inputs nor
    outputs: trained on one data set, it learns another, and permuting inputs or classes permutes what it does.

    Attributes:
        inputs: width of x.
        targets: classes.
        outputs: the same.
        slow_size: of a cell's h and c.
        message_size: of a message.
        ticks: per example.
        forget: initial bias of the forget gate.

    Raises:
        ValueError: a size below one, or outputs that are not the targets.

    Paper: arXiv 2012.14905 (slow size 16, messages of 8, 2 ticks).
    Differs: states start at zero; the forget bias is +3 and the input bias 0, not +5 and -5; inputs and errors have
        places of their own beside the messages; label and error are both told.
    """

    inputs: int
    targets: int
    outputs: int
    slow_size: int = 16
    message_size: int = 8
    ticks: int = 2
    forget: float = 3.0

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "outputs", "slow_size", "message_size", "ticks")
        if self.outputs != self.targets:
            raise ValueError(
                f"VSML: outputs must be the targets, one per class (got {self.outputs} and {self.targets})"
            )

    @property
    def _net(self) -> nn.Module:
        return _Cells(self.slow_size, self.message_size, self.ticks, self.forget)

    def init(self, key: Key) -> Theta:
        """Weights of the one cell, by fan-in."""
        return self._net.init(key, jnp.zeros((1, self.inputs)), jnp.zeros((1, self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Logits."""
        fits(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, xs, ys_prev))

    def state_size(self, length: int) -> int:
        """h and c of every weight, and the messages."""
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

        def tick(carry: tuple[Array, ...], seen: tuple[Array, Array]) -> tuple[Array, ...]:
            h, c, forward, backward = carry
            x, told = seen
            # what all cells of an input read alike, and all of an output, is multiplied once
            rows = jnp.concatenate([x[:, None], backward], -1) @ by_input
            columns = jnp.concatenate([told, forward], -1) @ by_output
            i, f, g, o = jnp.split(rows[:, None] + columns[None] + h @ state + bias[None, None], 4, axis=-1)
            c = nn.sigmoid(f + self.forget) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            messages = h.mean(0) @ send[:, : self.message_size], h.mean(1) @ send[:, self.message_size :]
            return h, c, *messages

        def example(carry: tuple[Any, Array], seen: tuple[Array, Array]) -> tuple[tuple[Any, Array], Array]:
            cells, logits = carry
            x, y = seen
            error = (jax.nn.softmax(logits) - y) * y.sum()
            for _ in range(self.ticks):
                cells = tick(cells, (x, jnp.stack([error, y], -1)))
            sent = (cells[0].sum(0) @ answer)[:, 0] * len(x) ** -0.5
            logits = 100 * jnp.tanh(sent / 100)
            return (cells, logits), logits

        shape = xs.shape[1], ys_prev.shape[1]
        cells = jnp.zeros((*shape, size)), jnp.zeros((*shape, size))
        messages = tuple(jnp.zeros((n, self.message_size)) for n in reversed(shape))
        return jax.lax.scan(example, ((*cells, *messages), jnp.zeros(shape[1])), (xs, ys_prev))[1]
