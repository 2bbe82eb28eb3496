"""An LSTM with a matrix state, as an in-context learner."""

from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import check_positive, check_sequence
from lopt.incontext.recurrent import Stack, orthogonal_gates
from lopt.types import Key, Theta


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
        return Stack(self.outputs, self.layers, lambda name: _Layer(self.width, self.forget, name=name))

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


class _Layer(nn.Module):
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
