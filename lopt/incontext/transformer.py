"""The causal Transformer as an in-context learner."""

from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.blocks import Blocks, check_positive, check_sequence, head_size
from lopt.types import Key, Theta


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A causal pre-LN Transformer with one token per example, concat(x_t, y_{t-1}), at which it predicts y_t.

    A block is u += attention(norm(u)), u += mlp(norm(u)), with causal softmax attention and a GELU MLP. Position
    embeddings are learned.

    Attributes:
        inputs: width of x.
        targets: width of the previous label `ys_prev[t]`.
        outputs: width of a prediction.
        positions: number of position embeddings, the longest possible sequence.
        width: N_M, of the residual stream.
        layers: L, number of blocks.
        heads: H, attention heads per block.
        key_size: N_K, of a head's queries, keys and values; None for width / heads.
        expansion: hidden width of the MLP, as a multiple of `width`.

    Raises:
        ValueError: a size is below one, or `key_size` is None and `heads` does not divide `width`.

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
        check_positive(self, "inputs", "targets", "outputs", "positions", "width", "layers", "heads", "expansion")
        head_size(self)

    @property
    def _net(self) -> Blocks:
        def mix(name: str, output_init: nn.initializers.Initializer) -> nn.Module:
            return _Attention(self.heads, head_size(self), output_init, name=name)

        return Blocks(self.outputs, self.width, self.layers, self.expansion, mix, self.positions)

    def init(self, key: Key) -> Theta:
        """Initial weights, scaled by fan-in, and position embeddings from N(0, 0.02^2).

        Projections onto the residual stream are divided by sqrt(2 L).
        """
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev, self.positions)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """The keys and values of `length` examples: 2 L H N_K numbers per example."""
        return 2 * self.layers * self.heads * head_size(self) * length


@jax.custom_vjp
def _softmax(scores: Array) -> Array:
    """Softmax along the last axis, with a custom derivative in reverse mode only.

    With JAX's own derivative a training step takes 1.5 times as long (measured on CPU).
    """
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
    output_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, u: Float[Array, "T width"]) -> Float[Array, "T width"]:
        length, size = len(u), self.heads * self.key_size
        q, k, v = jnp.split(nn.Dense(3 * size, use_bias=False, name="attend")(u), 3, axis=-1)
        q, k, v = (x.reshape(length, self.heads, self.key_size) for x in (q, k, v))
        scores = jnp.einsum("thd,shd->hts", q * self.key_size**-0.5, k)
        causal = jnp.tril(jnp.ones((length, length), bool))
        weights = _softmax(jnp.where(causal[None], scores, jnp.finfo(scores.dtype).min))
        attended = jnp.einsum("hts,shd->thd", weights, v).reshape(length, size)
        return nn.Dense(u.shape[1], use_bias=False, kernel_init=self.output_init, name="read")(attended)
