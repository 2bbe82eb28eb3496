"""Classical classifiers in context, fitted at every position t to the first t - 1 examples of a sequence.

Each takes inputs `[S, T, F]` and labels `[S, T]` of S sequences, and returns which predictions are correct `[S, T]`.
A label that is not in the context is never predicted; with an empty context the prediction is label 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

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
