"""A meta-trained sequence model as a classifier that learns in context."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.protocols import SequenceModel
from lopt.types import Theta


@dataclass(frozen=True, eq=False, kw_only=True)
class Classifier:
    """Classifies queries from labelled examples in the context of a sequence model; nothing is fitted.

        learner = lopt.load("runs/gpicl/rule")
        probabilities = learner.predict(xs, ys, query)

    As in meta-training (`lopt.tasks.ProjectedClassification`), inputs of any width are standardised by the examples and
    projected at random to the model's input width, and classes are assigned to random label slots. The prediction is
    the mean over several such draws.

    Attributes:
        model: the sequence model.
        theta: its meta-parameters.
        length: examples per sequence in meta-training, the query included.

    Raises:
        ValueError: the model's widths `outputs` and `targets` differ.
    """

    model: SequenceModel
    theta: Theta
    length: int

    def __post_init__(self) -> None:
        if self._width("outputs") != self._width("targets"):
            raise ValueError(
                f"Classifier: the model's outputs must be as wide as its targets (got {self._width('outputs')} and "
                f"{self._width('targets')})"
            )

    def _width(self, name: str) -> int:
        return int(getattr(self.model, name))

    def predict(self, xs: Any, ys: Any, query: Any, *, draws: int = 8, seed: int = 0) -> Float[Array, "m classes"]:
        """Class probabilities of every query, for the classes from 0 to the largest in `ys`.

        Args:
            xs: inputs of the examples `[n, ...]`, in the order of the context.
            ys: their classes `[n]`, integers from 0.
            query: inputs of the queries `[m, ...]`, or of one query `[...]` (then m = 1). Every query is predicted by
                itself, after all examples.
            draws: number of random projections and label permutations over which predictions are averaged.
            seed: seed of these draws.

        Returns:
            Probabilities `[m, classes]`; every row sums to one.

        Raises:
            ValueError: shapes do not match, labels are not classes, there are more classes than slots or more examples
                than in meta-training, or `draws` is below one.
        """
        examples, labels, queries = self._check(xs, ys, query)
        if draws < 1:
            raise ValueError(f"predict: draws must be at least 1 (got {draws})")
        mean = examples.mean(0)
        scale = (examples - mean).std() or 1.0
        keys = jax.random.split(jax.random.key(seed), draws)
        slots = self._mean_prediction(self.theta, keys, (examples - mean) / scale, labels, (queries - mean) / scale)
        probabilities = slots[:, : int(labels.max()) + 1]
        return probabilities / probabilities.sum(1, keepdims=True)

    def _check(self, xs: Any, ys: Any, query: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        xs, ys, query = np.asarray(xs, np.float32), np.asarray(ys), np.asarray(query, np.float32)
        query = query[None] if query.shape == xs.shape[1:] else query
        if xs.ndim < 2 or ys.shape != xs.shape[:1] or query.shape[1:] != xs.shape[1:] or not len(xs):
            raise ValueError(
                "predict: expected xs [n, ...], ys [n] and query [m, ...] or [...], with n at least 1 "
                f"(got {list(xs.shape)}, {list(ys.shape)} and {list(query.shape)})"
            )
        if not np.issubdtype(ys.dtype, np.integer) or ys.min() < 0:
            raise ValueError(f"predict: ys must be integers from 0 (got {ys.dtype.name} from {ys.min()})")
        if ys.max() >= self._width("targets"):
            raise ValueError(
                f"predict: the model has {self._width('targets')} slots for classes (got classes up to {ys.max()})"
            )
        if len(xs) >= self.length:
            raise ValueError(
                f"predict: the model was trained on sequences of {self.length - 1} examples and a query (got {len(xs)} "
                "examples); give fewer examples"
            )
        return xs.reshape(len(xs), -1), ys.astype(np.int32), query.reshape(len(query), -1)

    @cached_property
    def _mean_prediction(self) -> Any:
        def predict_query(theta: Theta, xs: Array, ys_prev: Array, query: Array) -> Array:
            logits = self.model.apply(theta, jnp.concatenate([xs, query[None]]), ys_prev)
            return jax.nn.softmax(logits[-1])

        def predict_draw(theta: Theta, key: Array, xs: Array, ys: Array, query: Array) -> Array:
            key_projection, key_slots = jax.random.split(key)
            size, slots = xs.shape[1], self._width("targets")
            matrix = jax.random.normal(key_projection, (self._width("inputs"), size)) * size**-0.5
            permutation = jax.random.permutation(key_slots, slots)
            ys_prev = jnp.concatenate([jnp.zeros((1, slots)), jax.nn.one_hot(permutation[ys], slots)])
            return jax.vmap(partial(predict_query, theta, xs @ matrix.T, ys_prev))(query @ matrix.T)[:, permutation]

        predict_draws = jax.vmap(predict_draw, (None, 0, None, None, None))
        return jax.jit(lambda theta, keys, *data: predict_draws(theta, keys, *data).mean(0))
