"""What learned optimizers see of a parameter: each function is for one tensor, its features along the last axis.

Accumulators are running means without bias correction, `[*shape, k]` for k decays. They are kept in float32 or wider,
whatever the parameter's type, for a decay of 0.9999 does nothing in bfloat16.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
"""Time scales from one to ten thousand updates."""
TIME_SCALES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
"""Updates after which a time feature crosses zero."""


class Factored(struct.PyTreeNode):
    """Second moments of a tensor seen as a matrix: means over each row and over each column, other axes kept."""

    rows: Float[Array, "*rows k"]
    columns: Float[Array, "*columns k"]


def wide(x: ArrayLike) -> Array:
    """In float32 at least."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def last(values: Float[Array, " k"], like: Array) -> Array:
    """A vector along the last axis of `like`, with axes of one before it."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape).astype(like.dtype)


def zeros(parameter: Array, number: int) -> Float[Array, "*shape k"]:
    """An accumulator that has seen nothing."""
    # made from the parameter, to be spread over devices as it is
    return jnp.stack([jnp.zeros_like(wide(parameter))] * number, -1)


def accumulate(
    old: Float[Array, "*shape k"], x: Float[Array, "*shape"], decays: Float[Array, " k"]
) -> Float[Array, "*shape k"]:
    """decay old + (1 - decay) x, for every decay."""
    decays = last(decays, old)
    return decays * old + (1 - decays) * x[..., None].astype(old.dtype)


def mean(x: Array, axes: Sequence[int]) -> Array:
    """Mean over `axes`, which stay as axes of one; zero where there is nothing to average."""
    number = math.prod(x.shape[axis] for axis in axes)
    return x.sum(axis=tuple(axes), keepdims=True) / max(1, number)


def matrix_axes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes to average over for the rows' means and for the columns': the longest and the second longest.

    A vector is a matrix of one column: its rows are its elements, its column's mean is its mean.
    """
    if len(shape) < 2:
        return (), tuple(range(len(shape)))
    *_, second, first = sorted(range(len(shape)), key=lambda axis: shape[axis])
    return (first,), (second,)


def factored_zeros(parameter: Array, number: int) -> Factored:
    """Second moments that have seen nothing."""
    over_rows, over_columns = matrix_axes(parameter.shape)
    full = zeros(parameter, number)
    return Factored(mean(full, over_rows), mean(full, over_columns))


def accumulate_factored(old: Factored, gradient: Float[Array, "*shape"], decays: Float[Array, " k"]) -> Factored:
    """Running means of g^2 over rows and columns."""
    over_rows, over_columns = matrix_axes(gradient.shape)
    square = jnp.square(gradient) + 1e-30
    return Factored(
        accumulate(old.rows, mean(square, over_rows), decays),
        accumulate(old.columns, mean(square, over_columns), decays),
    )


def factored_rsqrt(moments: Factored, shape: tuple[int, ...]) -> Float[Array, "*shape k"]:
    """1 / sqrt of the second moments' rank-one approximation, rows columns / mean(rows).

    Paper: arXiv 1804.04235, section 3.
    """
    _, over_columns = matrix_axes(shape)
    relative = moments.rows / (mean(moments.rows, over_columns) + 1e-9)
    return rsqrt(relative) * rsqrt(moments.columns)


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x), bounded."""
    return jax.lax.rsqrt(jnp.maximum(x, 1e-9))


def normalise(x: Float[Array, "*shape F"]) -> Float[Array, "*shape F"]:
    """Every feature divided by its root mean square over the tensor."""
    return x * jax.lax.rsqrt(1e-5 + mean(jnp.square(x), range(x.ndim - 1)))


def sign_and_log(x: Array) -> Array:
    """(sign x, log|x|) of every element, signs first: `[..., F]` to `[..., 2 F]`."""
    return jnp.concatenate([jnp.sign(x), jnp.log(jnp.abs(x) + 1e-13)], -1)


def time(count: Int[Array, ""]) -> Float[Array, " 11"]:
    """tanh(count / s - 1) for the scales s of `TIME_SCALES`: -0.76 at birth, 1 long after s updates.

    Paper: arXiv 2009.11243, appendix.
    """
    return jnp.tanh(count / jnp.array(TIME_SCALES, jnp.float32) - 1.0)


def everywhere(values: Float[Array, " F"], like: Array) -> Float[Array, "*shape F"]:
    """The same features for every parameter of the tensor `like`."""
    room = jnp.zeros_like(wide(like))[..., None]
    return last(values, room) + room
