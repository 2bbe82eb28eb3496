"""Input features of learned optimizers. Each function takes one tensor and returns features along a new last axis.

Accumulators are running means without bias correction, `[*shape, k]` for k decays. They are kept in float32 or wider,
whatever the parameter's type, because a decay of 0.9999 has no effect in bfloat16.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.optimizers.arguments import at_least_float32

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
"""Time scales from one to ten thousand updates."""
TIME_SCALES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
"""Updates after which a time feature crosses zero."""


class Factored(struct.PyTreeNode):
    """Factored second moments of a tensor seen as a matrix: means over each row and over each column."""

    rows: Float[Array, "*rows k"]
    columns: Float[Array, "*columns k"]


def along_last_axis(values: Float[Array, " k"], like: Array) -> Array:
    """The vector `values` reshaped to broadcast along the last axis of `like`, in its type."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape).astype(like.dtype)


def zeros(parameter: Array, number: int) -> Float[Array, "*shape k"]:
    """The initial accumulator of a parameter, zeros `[*shape, number]`."""
    # created from the parameter, so that it has the same sharding
    return jnp.stack([jnp.zeros_like(at_least_float32(parameter))] * number, -1)


def accumulate(
    old: Float[Array, "*shape k"], x: Float[Array, "*shape"], decays: Float[Array, " k"]
) -> Float[Array, "*shape k"]:
    """Running means after one more x: decay old + (1 - decay) x, for each of the k decays."""
    decays = along_last_axis(decays, old)
    return decays * old + (1 - decays) * x[..., None].astype(old.dtype)


def mean(x: Array, axes: Sequence[int]) -> Array:
    """Mean over `axes`, which are kept with size one; zero where there are no elements."""
    number = math.prod(x.shape[axis] for axis in axes)
    return x.sum(axis=tuple(axes), keepdims=True) / max(1, number)


def matrix_axes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes to average over for the row means and for the column means: the longest and the second longest axis.

    A vector is a matrix of one column: its row means are its elements, its column mean is their mean.
    """
    if len(shape) < 2:
        return (), tuple(range(len(shape)))
    *_, second, first = sorted(range(len(shape)), key=lambda axis: shape[axis])
    return (first,), (second,)


def factored_zeros(parameter: Array, number: int) -> Factored:
    """The initial factored second moments of a parameter: zeros for `number` decays."""
    over_rows, over_columns = matrix_axes(parameter.shape)
    full = zeros(parameter, number)
    return Factored(mean(full, over_rows), mean(full, over_columns))


def accumulate_factored(old: Factored, gradient: Float[Array, "*shape"], decays: Float[Array, " k"]) -> Factored:
    """Running means of g^2 over rows and columns, for each of the k decays."""
    over_rows, over_columns = matrix_axes(gradient.shape)
    square = jnp.square(gradient) + 1e-30
    return Factored(
        accumulate(old.rows, mean(square, over_rows), decays),
        accumulate(old.columns, mean(square, over_columns), decays),
    )


def factored_rsqrt(moments: Factored, shape: tuple[int, ...]) -> Float[Array, "*shape k"]:
    """1 / sqrt of the rank-one approximation of the second moments, rows columns / mean(rows).

    Paper: arXiv 1804.04235, section 3.
    """
    _, over_columns = matrix_axes(shape)
    relative = moments.rows / (mean(moments.rows, over_columns) + 1e-9)
    return rsqrt(relative) * rsqrt(moments.columns)


def rsqrt(x: Array) -> Array:
    """1 / sqrt(max(x, 1e-9))."""
    return jax.lax.rsqrt(jnp.maximum(x, 1e-9))


def normalise(x: Float[Array, "*shape F"]) -> Float[Array, "*shape F"]:
    """Every feature divided by its root mean square over the tensor."""
    return x * jax.lax.rsqrt(1e-5 + mean(jnp.square(x), range(x.ndim - 1)))


def sign_and_log(x: Array) -> Array:
    """(sign x, log|x|) of every element, signs first: `[..., F]` to `[..., 2 F]`."""
    return jnp.concatenate([jnp.sign(x), jnp.log(jnp.abs(x) + 1e-13)], -1)


def time(count: Int[Array, ""]) -> Float[Array, " 11"]:
    """tanh(count / s - 1) for the scales s of `TIME_SCALES`: -0.76 at count 0, near 1 long after s updates.

    Paper: arXiv 2009.11243, appendix.
    """
    return jnp.tanh(count / jnp.array(TIME_SCALES, jnp.float32) - 1.0)


def broadcast_to_tensor(values: Float[Array, " F"], like: Array) -> Float[Array, "*shape F"]:
    """The same F features for every element of the tensor `like`."""
    zero = jnp.zeros_like(at_least_float32(like))[..., None]
    return along_last_axis(values, zero) + zero
