"""Classical linear predictors at every position of a sequence, each fitted to the examples before that position."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def ridge(xs: Float[Array, "T X"], ys: Float[Array, "T Y"], penalty: float) -> Float[Array, "T Y"]:
    """Ridge regression: W_t x_t with W_t = argmin_W sum_{s<t} |y_s - W x_s|^2 + penalty |W|^2.

    With penalty = sigma^2 / tau^2 this is the posterior mean under w ~ N(0, tau^2 I) and noise of variance sigma^2.
    """
    identity = penalty * jnp.eye(xs.shape[1])
    return jax.vmap(lambda gram, moment, x: jnp.linalg.solve(gram + identity, moment).T @ x)(*_sums(xs, ys), xs)


def least_squares(xs: Float[Array, "T X"], ys: Float[Array, "T Y"]) -> Float[Array, "T Y"]:
    """Ordinary least squares: W_t x_t with W_t = argmin_W sum_{s<t} |y_s - W x_s|^2.

    Where the minimiser is not unique, it is the one of minimal norm.
    """
    past = jnp.tri(len(xs), k=-1)
    return jax.vmap(lambda mask, x: (jnp.linalg.pinv(mask[:, None] * xs, rtol=1e-5) @ ys).T @ x)(past, xs)


def averaging(xs: Float[Array, "T X"], ys: Float[Array, "T Y"]) -> Float[Array, "T Y"]:
    """The averaging estimator: W_t x_t with W_t = mean_{s<t} y_s x_s^T, unbiased where x has covariance I.

    Paper: arXiv 2208.01066, section 3.
    """
    return jax.vmap(lambda moment, x: moment.T @ x)(_means(xs, ys)[1], xs)


def gradient_descent(
    xs: Float[Array, "T X"], ys: Float[Array, "T Y"], step_size: float | Float[Array, ""], num_steps: int
) -> Float[Array, "T Y"]:
    """Gradient descent: W_t x_t after `num_steps` steps from W = 0 on mean_{s<t} 1/2 |y_s - W x_s|^2.

    Args:
        xs: inputs of one sequence.
        ys: labels of the sequence.
        step_size: learning rate of every step.
        num_steps: number of steps, the same at every position.
    """
    return jax.vmap(partial(_descend, step_size, num_steps))(*_means(xs, ys), xs)


def _descend(step_size: float | Array, num_steps: int, gram: Array, moment: Array, x: Array) -> Array:
    def step(weights, _):
        return weights + step_size * (moment - gram @ weights), None

    return jax.lax.scan(step, jnp.zeros_like(moment), length=num_steps)[0].T @ x


def _sums(xs: Array, ys: Array) -> tuple[Array, Array]:
    """sum_{s<t} x_s x_s^T and sum_{s<t} x_s y_s^T for every t."""
    past = jnp.tri(len(xs), k=-1)
    return jnp.einsum("ts,sx,sz->txz", past, xs, xs), jnp.einsum("ts,sx,sy->txy", past, xs, ys)


def _means(xs: Array, ys: Array) -> tuple[Array, Array]:
    """mean_{s<t} x_s x_s^T and mean_{s<t} x_s y_s^T for every t; zero at the first position."""
    count = jnp.maximum(jnp.arange(len(xs)), 1)[:, None, None]
    gram, moment = _sums(xs, ys)
    return gram / count, moment / count
