"""The GRU as an in-context learner."""

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
        return Stack(self.outputs, self.layers, lambda name: _Layer(self.width, name=name))

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


class _Layer(nn.Module):
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
