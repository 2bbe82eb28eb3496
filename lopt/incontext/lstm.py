"""The LSTM as an in-context learner."""

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
class LSTM:
    """Reads concat(x_t, y_{t-1}) one after the other: c = f c + i g, h = o tanh(c); a linear head reads h.

    Its state is two vectors per layer, whatever the length of the sequence.

    Attributes:
        inputs: width of x.
        targets: width of y as it is told.
        outputs: width of a prediction.
        width: of h and of c.
        layers: one above the other.
        forget: initial bias of the forget gate f.

    Raises:
        ValueError: a size below one.

    Paper: arXiv 2212.04458 (its LSTM baseline).
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 128
    layers: int = 1
    forget: float = 1.0

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
        """h and c of every layer."""
        return 2 * self.width * self.layers


class _Layer(nn.Module):
    width: int
    forget: float

    @nn.compact
    def __call__(self, x: Float[Array, "T E"]) -> Float[Array, "T width"]:
        gates = nn.Dense(4 * self.width, name="input")(
            x
        )  # all inputs at once: the loop holds the state's product alone
        state = self.param("state", orthogonal_gates(4), (self.width, 4 * self.width))

        def step(carry: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            i, f, g, o = jnp.split(gates + h @ state, 4)
            c = nn.sigmoid(f + self.forget) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        empty = jnp.zeros((self.width,), x.dtype)
        return jax.lax.scan(step, (empty, empty), gates)[1]
