"""Attention as in-context learners: the causal Transformer, linear attention, and fast weights with the delta rule."""

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


@dataclass(frozen=True, kw_only=True)
class LinearAttention:
    """The blocks of `Transformer` with linear attention: S_t = S_{t-1} + v_t k_t^T and outputs S_t q_t / t.

    The state size does not depend on the length of the sequence, which is not limited. All positions are computed in
    parallel with a causal mask. There are no position embeddings: order enters only by the mask and the factor 1 / t.

    Attributes:
        inputs: width of x.
        targets: width of the previous label `ys_prev[t]`.
        outputs: width of a prediction.
        width: of the residual stream.
        layers: L, number of blocks.
        heads: H, heads per block.
        key_size: N_K, rows and columns of a head's state S; None for width / heads.
        expansion: hidden width of the MLP, as a multiple of `width`.

    Raises:
        ValueError: a size is below one, or `key_size` is None and `heads` does not divide `width`.

    Paper: arXiv 2006.16236; arXiv 2102.11174.
    Differs: no feature map and no normaliser; outputs are divided by t.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    key_size: int | None = None
    expansion: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs", "width", "layers", "heads", "expansion")
        head_size(self)

    @property
    def _net(self) -> Blocks:
        def mix(name: str, output_init: nn.initializers.Initializer) -> nn.Module:
            return _Sums(self.heads, head_size(self), output_init, name=name)

        return Blocks(self.outputs, self.width, self.layers, self.expansion, mix)

    def init(self, key: Key) -> Theta:
        """Initial weights, scaled by fan-in; projections onto the residual stream are divided by sqrt(2 L)."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """L H N_K^2 numbers: the matrices S of all heads, independent of `length`."""
        return self.layers * self.heads * head_size(self) ** 2


class _Sums(nn.Module):
    heads: int
    key_size: int
    output_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, u: Float[Array, "T width"]) -> Float[Array, "T width"]:
        length, size = len(u), self.heads * self.key_size
        q, k, v = jnp.split(nn.Dense(3 * size, use_bias=False, name="attend")(u), 3, axis=-1)
        q, k, v = (x.reshape(length, self.heads, self.key_size) for x in (q, k, v))
        position = jnp.arange(1, length + 1)[:, None, None]
        scores = jnp.einsum("thd,shd->hts", q * self.key_size**-0.5 / position, k)
        attended = jnp.einsum("hts,shd->thd", jnp.tril(scores), v).reshape(length, size)
        return nn.Dense(u.shape[1], use_bias=False, kernel_init=self.output_init, name="read")(attended)


@dataclass(frozen=True, kw_only=True)
class FastWeights:
    """The blocks of `Transformer` with the delta rule S_t = S_{t-1} + b_t (v_t - S_{t-1} k_t) k_t^T, outputs S_t q_t.

    Keys and queries are normalised to norm one. The write strength b_t = sigmoid(w . u_t) in (0, 1) is a scalar per
    head. The update replaces the value that is associated with a key, where `LinearAttention` adds to it. Sequences may
    have any length.

    Attributes:
        inputs: width of x.
        targets: width of the previous label `ys_prev[t]`.
        outputs: width of a prediction.
        width: of the residual stream.
        layers: L, number of blocks.
        heads: H, heads per block.
        key_size: N_K, rows and columns of a head's state S; None for width / heads.
        expansion: hidden width of the MLP, as a multiple of `width`.

    Raises:
        ValueError: a size is below one, or `key_size` is None and `heads` does not divide `width`.

    Paper: arXiv 2102.11174, eq. 24-25.
    Differs: keys and queries are divided by their Euclidean norm; the paper divides a feature map by its sum.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    key_size: int | None = None
    expansion: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs", "width", "layers", "heads", "expansion")
        head_size(self)

    @property
    def _net(self) -> Blocks:
        def mix(name: str, output_init: nn.initializers.Initializer) -> nn.Module:
            return _DeltaRule(self.heads, head_size(self), output_init, name=name)

        return Blocks(self.outputs, self.width, self.layers, self.expansion, mix)

    def init(self, key: Key) -> Theta:
        """Initial weights, scaled by fan-in; projections onto the residual stream are divided by sqrt(2 L)."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """L H N_K^2 numbers: the matrices S of all heads, independent of `length`."""
        return self.layers * self.heads * head_size(self) ** 2


class _DeltaRule(nn.Module):
    heads: int
    key_size: int
    output_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, u: Float[Array, "T width"]) -> Float[Array, "T width"]:
        length, size = len(u), self.heads * self.key_size
        q, k, v = jnp.split(nn.Dense(3 * size, use_bias=False, name="attend")(u), 3, axis=-1)
        q, k, v = (x.reshape(length, self.heads, self.key_size) for x in (q, k, v))
        q, k = (x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6) for x in (q, k))
        rate = nn.sigmoid(nn.Dense(self.heads, name="rate")(u))

        def step(weights: Array, token: tuple[Array, ...]) -> tuple[Array, Array]:
            q, k, v, rate = token
            error = v - jnp.einsum("hvk,hk->hv", weights, k)
            weights = weights + jnp.einsum("hv,hk->hvk", rate[:, None] * error, k)
            return weights, jnp.einsum("hvk,hk->hv", weights, q)

        initial = jnp.zeros((self.heads, self.key_size, self.key_size))
        attended = jax.lax.scan(step, initial, (q, k, v, rate))[1].reshape(length, size)
        return nn.Dense(u.shape[1], use_bias=False, kernel_init=self.output_init, name="read")(attended)
