"""A trained sequence model, used as a classifier that learns from the examples it is called with."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.protocols import SequenceModel
from lopt.types import Theta


@dataclass(frozen=True, eq=False)
class Classifier:
    """Classifies by reading labelled examples; there is nothing to fit.

        learner = lopt.load("runs/gpicl/rule")
        probabilities = learner.predict(xs, ys, query)

    The inputs, of any width, are standardised by the examples, projected at random to the model's, and classes are put
    into random slots, as in meta-training; the prediction is the mean over several such draws.

    Attributes:
        model: what was trained.
        theta: its meta-parameters.
        length: the longest sequence of its training, the query included.

    Raises:
        ValueError: a model that does not predict as many slots as it is told.
    """

    model: SequenceModel
    theta: Theta
    length: int

    def __post_init__(self) -> None:
        if self._width("outputs") != self._width("targets"):
            raise ValueError(
                f"Classifier: the model must predict the slots it is told (got {self._width('outputs')} and "
                f"{self._width('targets')})"
            )

    def _width(self, name: str) -> int:
        return int(getattr(self.model, name))

    def predict(self, xs: Any, ys: Any, query: Any, *, draws: int = 8, seed: int = 0) -> Float[Array, "m classes"]:
        """Probabilities of every class, from 0 to the largest in `ys`, for every query.

        Args:
            xs: examples `[n, ...]`, in the order in which they are to be read.
            ys: their classes `[n]`, whole numbers from 0.
            query: `[m, ...]`, or one of them `[...]` (then m = 1). Each is asked by itself, after all examples.
            draws: projections and permutations that are averaged.
            seed: of the draws.

        Raises:
            ValueError: shapes that do not fit, labels that are no classes, more classes than slots, more examples than
                the model was trained to read, or no draw.
        """
        examples, labels, asked = self._checked(xs, ys, query)
        if draws < 1:
            raise ValueError(f"predict: draws must be at least 1 (got {draws})")
        mean = examples.mean(0)
        scale = (examples - mean).std() or 1.0
        keys = jax.random.split(jax.random.key(seed), draws)
        found = self._ask(self.theta, keys, (examples - mean) / scale, labels, (asked - mean) / scale)
        found = found[:, : int(labels.max()) + 1]
        return found / found.sum(1, keepdims=True)

    def _checked(self, xs: Any, ys: Any, query: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        xs, ys, query = np.asarray(xs, np.float32), np.asarray(ys), np.asarray(query, np.float32)
        query = query[None] if query.shape == xs.shape[1:] else query
        if xs.ndim < 2 or ys.shape != xs.shape[:1] or query.shape[1:] != xs.shape[1:] or not len(xs):
            raise ValueError(
                "predict: expected xs [n, ...], ys [n] and query [m, ...] or one of them, with n at least 1 "
                f"(got {list(xs.shape)}, {list(ys.shape)} and {list(query.shape)})"
            )
        if not np.issubdtype(ys.dtype, np.integer) or ys.min() < 0:
            raise ValueError(f"predict: ys must be whole numbers from 0 (got {ys.dtype.name} from {ys.min()})")
        if ys.max() >= self._width("targets"):
            raise ValueError(
                f"predict: the model has {self._width('targets')} slots for classes (got classes up to {ys.max()})"
            )
        if len(xs) >= self.length:
            raise ValueError(
                f"predict: the model was trained to read {self.length - 1} examples and a query (got {len(xs)}); give "
                "fewer examples"
            )
        return xs.reshape(len(xs), -1), ys.astype(np.int32), query.reshape(len(query), -1)

    @cached_property
    def _ask(self) -> Any:
        def one(theta: Theta, xs: Array, told: Array, query: Array) -> Array:
            read = self.model.apply(theta, jnp.concatenate([xs, query[None]]), told)
            return jax.nn.softmax(read[-1])

        def drawn(theta: Theta, key: Array, xs: Array, ys: Array, query: Array) -> Array:
            key_projection, key_slots = jax.random.split(key)
            size, slots = xs.shape[1], self._width("targets")
            matrix = jax.random.normal(key_projection, (self._width("inputs"), size)) * size**-0.5
            places = jax.random.permutation(key_slots, slots)
            told = jnp.concatenate([jnp.zeros((1, slots)), jax.nn.one_hot(places[ys], slots)])
            return jax.vmap(partial(one, theta, xs @ matrix.T, told))(query @ matrix.T)[:, places]

        many = jax.vmap(drawn, (None, 0, None, None, None))
        return jax.jit(lambda theta, keys, *data: many(theta, keys, *data).mean(0))
