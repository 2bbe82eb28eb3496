"""Predictors at every position of a sequence, from the examples before: classical linear ones, exact posteriors, and
classifiers.

The classifiers are fitted at every position t to the first t - 1 examples. Each takes inputs `[S, T, F]` and labels
`[S, T]` of S sequences, and returns which predictions are correct `[S, T]`. A label that is not in the context is never
predicted; with an empty context the prediction is label 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt.tasks.incontext.regression import LinearFunction


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


class Prediction(struct.PyTreeNode):
    """The posterior predictive distribution of y_t given x_1, y_1, ..., x_{t-1}, y_{t-1}, x_t, for every t.

    Attributes:
        mean: of y_t, `[T]`.
        variance: of y_t, `[T]`.
        log_density: logarithm of the density at the observed y_t, `[T]`, in nats.
    """

    mean: Float[Array, " T"]
    variance: Float[Array, " T"]
    log_density: Float[Array, " T"]


@dataclass(frozen=True)
class PriorPredictor:
    """Posterior predictive distribution under the prior w ~ N(0, std^2 I), sigma uniform on `noises`.

    Given sigma, let S = (X^T X / sigma^2 + I / std^2)^-1 and m = S X^T y / sigma^2, over the examples before position
    t. Then y_t is Gaussian with mean m . x_t and variance sigma^2 + x_t^T S x_t. The result is the mixture of these
    Gaussians over sigma, weighted by the marginal likelihood of the earlier labels under each sigma.

    Attributes:
        std: standard deviation of each weight.
        noises: the values of sigma, equally likely a priori.

    Raises:
        ValueError: `noises` is empty, or `std` or a noise is not positive.
    """

    std: float
    noises: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.noises or min(self.noises) <= 0 or self.std <= 0:
            raise ValueError(
                "PriorPredictor: expected positive std and at least one noise, all positive "
                f"(got {self.std} and {self.noises})"
            )

    def predict(self, xs: Float[Array, "T X"], ys: Float[Array, " T"]) -> Prediction:
        """The predictive distribution at all T positions of one sequence; position t uses only earlier labels."""

        def component(noise):
            def step(precision_and_moment, example):
                precision, moment = precision_and_moment
                x, y = example
                solved = jnp.linalg.solve(precision, jnp.stack([moment, x], -1))
                updated = precision + jnp.outer(x, x) / noise**2, moment + x * y / noise**2
                return updated, (x @ solved[:, 0], noise**2 + x @ solved[:, 1])

            prior = jnp.eye(xs.shape[1]) / self.std**2, jnp.zeros(xs.shape[1])
            return jax.lax.scan(step, prior, (xs, ys))[1]

        means, variances = jax.vmap(component)(jnp.array(self.noises))
        return _mixture(means, variances, ys)


def predict_from_pool(functions: LinearFunction, xs: Float[Array, "T X"], ys: Float[Array, " T"]) -> Prediction:
    """Posterior predictive distribution under the uniform prior on a pool of M functions.

    Where all functions have the same noise, the mean is the dMMSE estimate.

    Args:
        functions: the pool, with leading axis `[M]`.
        xs: inputs of one sequence.
        ys: labels of the sequence; position t uses only earlier ones.

    Paper: arXiv 2306.15063, section 2 (dMMSE).
    """
    means = functions.weights @ xs.T
    return _mixture(means, jnp.broadcast_to(jnp.square(functions.noise)[:, None], means.shape), ys)


def _mixture(means: Array, variances: Array, ys: Array) -> Prediction:
    """The mixture of Gaussian components `[K, T]` that have equal prior probability."""
    log_densities = -0.5 * (jnp.log(2 * jnp.pi * variances) + jnp.square(ys[None] - means) / variances)
    log_evidence = jnp.cumsum(log_densities, 1) - log_densities  # of the examples before position t
    log_weights = jax.nn.log_softmax(log_evidence, 0)
    weights = jnp.exp(log_weights)
    mean = (weights * means).sum(0)
    variance = (weights * (variances + jnp.square(means - mean[None]))).sum(0)
    return Prediction(mean, variance, jax.nn.logsumexp(log_weights + log_densities, 0))


Inputs = Float[np.ndarray, "S T F"]
Labels = Int[np.ndarray, "S T"]
Correct = Bool[np.ndarray, "S T"]

UNSEEN = 1e9
"""Distance, or negative logit, of a label without examples in the context."""


def class_mean(xs: Inputs, labels: Labels, slots: int) -> Correct:
    """The label whose mean input in the context is nearest to the query."""
    one_hot = np.eye(slots, dtype=np.float32)[labels]
    counts = np.cumsum(one_hot, 1) - one_hot
    distance = np.full((*labels.shape, slots), UNSEEN, np.float32)
    for slot in range(slots):
        of_slot = one_hot[..., slot, None] * xs
        mean = (np.cumsum(of_slot, 1) - of_slot) / np.maximum(counts[..., slot, None], 1)
        distance[..., slot] = np.where(counts[..., slot] > 0, np.square(mean - xs).sum(-1), UNSEEN)
    return distance.argmin(-1) == labels


def nearest_neighbour(xs: Inputs, labels: Labels, slots: int) -> Correct:
    """The label of the nearest example in the context."""
    squares = np.square(xs).sum(-1)
    distance = squares[:, :, None] + squares[:, None] - 2 * np.einsum("stf,suf->stu", xs, xs)
    length = labels.shape[1]
    distance = np.where(np.tri(length, k=-1, dtype=bool)[None], distance, UNSEEN)
    prediction = np.take_along_axis(labels, distance.argmin(-1), 1)
    prediction[:, 0] = 0
    return prediction == labels


def label_frequency(xs: Inputs, labels: Labels, slots: int) -> Correct:
    """The most frequent label in the context, which ignores all inputs."""
    one_hot = np.eye(slots)[labels]
    return (np.cumsum(one_hot, 1) - one_hot).argmax(-1) == labels


def logistic_regression(xs: Inputs, labels: Labels, slots: int, decay: float = 0.1, steps: int = 60) -> Correct:
    """Softmax regression with bias on the context, by accelerated gradient descent from zero at every position.

    It minimises the sum of the cross-entropies plus decay / 2 |W|^2.

    Args:
        xs: inputs.
        labels: labels.
        slots: number of labels.
        decay: weight of the penalty on all weights, the bias included.
        steps: number of gradient steps.
    """
    ones = np.ones((*labels.shape, 1), np.float32)
    return np.asarray(_logistic(slots, decay, steps)(np.concatenate([xs, ones], -1), labels))


def _logistic(slots: int, decay: float, steps: int) -> Callable[..., Array]:
    def fit(x: Array, one_hot: Array, mask: Array) -> Array:
        """Weights `[F, slots]` fitted to the examples where `mask` `[T]` is one."""
        rate = 1 / (decay + 0.5 * (mask * jnp.square(x).sum(-1)).sum())

        def step(i: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
            weights, lookahead = carry
            error = mask[:, None] * (jax.nn.softmax(x @ lookahead) - one_hot)
            updated = lookahead - rate * (x.T @ error + decay * lookahead)
            return updated, updated + i / (i + 3) * (updated - weights)

        initial = jnp.zeros((x.shape[1], slots))
        return jax.lax.fori_loop(0, steps, step, (initial, initial))[0]

    def sequence(pair: tuple[Array, Array]) -> Array:
        x, labels = pair
        one_hot = jax.nn.one_hot(labels, slots)
        masks = jnp.tri(len(x), k=-1)
        weights = jax.vmap(fit, (None, None, 0))(x, one_hot, masks)
        logits = jnp.where(masks @ one_hot > 0, jnp.einsum("tf,tfs->ts", x, weights), -UNSEEN)
        return jnp.argmax(logits, -1) == labels

    return jax.jit(lambda xs, labels: jax.lax.map(sequence, (xs, labels), batch_size=16))
