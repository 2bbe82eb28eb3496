"""The GRU as an in-context learner."""

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
class GRU:
    """Reads concat(x_t, y_{t-1}) one after the other: h = n + z (h - n); a linear head reads h.

    Attributes:
        inputs: width of x.
        targets: width of y as it is told.
        outputs: width of a prediction.
        width: of h.
        layers: one above the other.

    Raises:
        ValueError: a size below one.

    Paper: arXiv 1406.1078; the reset gate acts after the product, as in `flax.linen.GRUCell`.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "outputs", "width", "layers")

    @property
    def _net(self) -> Stack:
        return Stack(self.outputs, self.layers, lambda name: _Layer(self.width, name=name))

    def init(self, key: Key) -> Theta:
        """Inputs by fan-in, states orthogonal."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """h of every layer."""
        return self.width * self.layers


class _Layer(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "T E"]) -> Float[Array, "T width"]:
        gates = nn.Dense(3 * self.width, name="input")(
            x
        )  # all inputs at once: the loop holds the state's product alone
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
