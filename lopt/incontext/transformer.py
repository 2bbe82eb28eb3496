"""The causal Transformer as an in-context learner."""

from dataclasses import dataclass
from functools import partial
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import at_least_one, fits
from lopt.types import Key, Theta


@dataclass(frozen=True)
class Transformer:
    """Reads one token per example, concat(x_t, y_{t-1}), and predicts y_t at it.

    Layer normalisation comes first in every block: u += attention(norm(u)), u += mlp(norm(u)); softmax attention to the
    token itself and those before it, a GELU network, learned positions.

    Attributes:
        inputs: width of x.
        targets: width of y as it is told.
        outputs: width of a prediction.
        positions: the longest sequence it can read.
        width: of a token, N_M.
        layers: L.
        heads: H.
        key_size: of a query, key and value, N_K; None for width / heads.
        expansion: hidden width of the network, in tokens' widths.

    Raises:
        ValueError: a size below one, or heads that do not divide the width where there is no `key_size`.

    Paper: arXiv 2212.04458, section 4 (N_M = 256, L = 4, H = 8, N_K = 32); blocks of arXiv 2002.04745.
    """

    inputs: int
    targets: int
    outputs: int
    positions: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    key_size: int | None = None
    expansion: int = 4

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "outputs", "positions", "width", "layers", "heads", "expansion")
        if self.key_size is None and self.width % self.heads:
            raise ValueError(
                f"Transformer: heads must divide the width, or key_size be given (got {self.heads} and {self.width})"
            )
        if self.key_size is not None:
            at_least_one(self, "key_size")

    @property
    def _net(self) -> "_Net":
        size = self.width // self.heads if self.key_size is None else self.key_size
        return _Net(self.outputs, self.positions, self.width, self.layers, self.heads, size, self.expansion)

    def init(self, key: Key) -> Theta:
        """Weights by fan-in; those that write into the tokens smaller by sqrt(2 L), and small positions."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev, self.positions)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """Keys and values, 2 L H N_K of every example."""
        return 2 * self.layers * self.heads * self._net.key_size * length


class _Net(nn.Module):
    outputs: int
    positions: int
    width: int
    layers: int
    heads: int
    key_size: int
    expansion: int

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        position = self.param("position", nn.initializers.normal(0.02), (self.positions, self.width))
        u = nn.Dense(self.width, name="embed")(tokens) + position[: len(tokens)]
        into = nn.initializers.variance_scaling(1 / (2 * self.layers), "fan_in", "truncated_normal")
        for i in range(self.layers):
            u = u + self._attention(nn.LayerNorm(name=f"norm_attention_{i}")(u), into, i)
            h = nn.Dense(self.expansion * self.width, name=f"hidden_{i}")(nn.LayerNorm(name=f"norm_hidden_{i}")(u))
            u = u + nn.Dense(self.width, kernel_init=into, name=f"out_{i}")(nn.gelu(h))
        return nn.Dense(self.outputs, name="head")(nn.LayerNorm(name="norm_head")(u))

    def _attention(self, u: Array, into: nn.initializers.Initializer, i: int) -> Array:
        size = self.heads * self.key_size
        dense = partial(nn.Dense, use_bias=False)
        q, k, v = jnp.split(dense(3 * size, name=f"attend_{i}")(u), 3, axis=-1)
        q, k, v = (x.reshape(len(u), self.heads, self.key_size) for x in (q, k, v))
        scores = jnp.einsum("thd,shd->hts", q * self.key_size**-0.5, k)
        past = jnp.tril(jnp.ones((len(u), len(u)), bool))
        weights = jax.nn.softmax(jnp.where(past[None], scores, jnp.finfo(scores.dtype).min))
        read = jnp.einsum("hts,shd->thd", weights, v).reshape(len(u), size)
        return dense(self.width, kernel_init=into, name=f"read_{i}")(read)
