"""The causal Transformer as an in-context learner."""

from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.blocks import Blocks
from lopt.incontext.checks import at_least_one, fits, per_head
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
        per_head(self)

    @property
    def _net(self) -> Blocks:
        def mix(name: str, into: nn.initializers.Initializer) -> nn.Module:
            return _Attention(self.heads, per_head(self), into, name=name)

        return Blocks(self.outputs, self.width, self.layers, self.expansion, mix, self.positions)

    def init(self, key: Key) -> Theta:
        """Weights by fan-in; those that write into the tokens smaller by sqrt(2 L), and small positions."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev, self.positions)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """Keys and values, 2 L H N_K of every example."""
        return 2 * self.layers * self.heads * per_head(self) * length


@jax.custom_vjp
def _softmax(scores: Array) -> Array:
    """Softmax along the last axis. Reverse mode only: the derivative that JAX would make of it costs a step half as
    much again (measured on CPU)."""
    return jax.nn.softmax(scores)


def _softmax_forward(scores: Array) -> tuple[Array, Array]:
    weights = jax.nn.softmax(scores)
    return weights, weights


def _softmax_backward(weights: Array, d_weights: Array) -> tuple[Array]:
    return (weights * (d_weights - (d_weights * weights).sum(-1, keepdims=True)),)


_softmax.defvjp(_softmax_forward, _softmax_backward)


class _Attention(nn.Module):
    heads: int
    key_size: int
    into: nn.initializers.Initializer

    @nn.compact
    def __call__(self, u: Float[Array, "T width"]) -> Float[Array, "T width"]:
        length, size = len(u), self.heads * self.key_size
        q, k, v = jnp.split(nn.Dense(3 * size, use_bias=False, name="attend")(u), 3, axis=-1)
        q, k, v = (x.reshape(length, self.heads, self.key_size) for x in (q, k, v))
        scores = jnp.einsum("thd,shd->hts", q * self.key_size**-0.5, k)
        past = jnp.tril(jnp.ones((length, length), bool))
        weights = _softmax(jnp.where(past[None], scores, jnp.finfo(scores.dtype).min))
        read = jnp.einsum("hts,shd->thd", weights, v).reshape(length, size)
        return nn.Dense(u.shape[1], use_bias=False, kernel_init=self.into, name="read")(read)
