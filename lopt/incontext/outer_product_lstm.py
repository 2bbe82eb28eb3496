"""An LSTM whose state is a matrix, as an in-context learner."""

from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import at_least_one, fits
from lopt.incontext.recurrent import Stack, orthogonal_gates
from lopt.types import Key, Theta


@dataclass(frozen=True)
class OuterProductLSTM:
    """An LSTM with a matrix for a state: C = diag(f) C + (i v) k' / sqrt(h), out = o tanh(C q / sqrt(h)).

    A layer of width h has h^2 numbers of state for as many weights as an LSTM's. The gates f, i, o and the vectors
    v, k, q are linear in x_t and in the layer's output before.

    Attributes:
        inputs: width of x.
        targets: width of y as it is told.
        outputs: width of a prediction.
        width: h, rows and columns of C.
        layers: one above the other.
        forget: initial bias of the forget gate f.

    Raises:
        ValueError: a size below one.

    Paper: arXiv 2212.04458, its LSTM with an outer-product state; the update's exact form there is not known to us.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 64
    layers: int = 1
    forget: float = 3.0

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "outputs", "width", "layers")

    @property
    def _net(self) -> Stack:
        return Stack(self.outputs, self.layers, lambda name: _Layer(self.width, self.forget, name=name))

    def init(self, key: Key) -> Theta:
        """Inputs by fan-in, states orthogonal."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """C and the output of every layer."""
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
            written = jnp.outer(nn.sigmoid(i) * v, k) * self.width**-0.5
            c = nn.sigmoid(f + self.forget)[:, None] * c + written
            h = nn.sigmoid(o) * jnp.tanh(c @ q * self.width**-0.5)
            return (h, c), h

        empty = jnp.zeros((self.width,), x.dtype), jnp.zeros((self.width, self.width), x.dtype)
        return jax.lax.scan(step, empty, parts)[1]
