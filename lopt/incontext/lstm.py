"""The LSTM as an in-context learner."""

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
        return Stack(self.outputs, self.layers, lambda name: _Layer(self.width, self.forget, name=name))

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


class _Layer(nn.Module):
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
