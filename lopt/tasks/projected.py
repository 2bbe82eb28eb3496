"""Classification to be learned in context: one data set as any number of tasks, by random projections and labels."""

import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt

from lopt.tasks.dataset import Dataset
from lopt.types import Context, Key, Metrics


class Projection(struct.PyTreeNode):
    """A task, as what it is drawn from: the words of a key, and whether classes keep their places."""

    words: UInt[Array, "*n words"]
    in_place: Bool[Array, "*n"]


@dataclass(frozen=True)
class ProjectedClassification:
    """Tasks {(A x, rho(y))} of a data set {(x, y)}: A_ij ~ N(0, 1 / N_x), rho a random injection of classes into slots.

    x is first standardised by one mean and one deviation over all numbers of the training inputs, so that the entries
    of A x have variance one. A task is never stored: `sample` gives the words of a key, from which A and rho are drawn
    whenever they are needed. With `num_tasks` n the tasks are those of the keys fold_in(key(pool), k), k < n; every
    sequence draws new examples, whatever the number of tasks. Loss: cross-entropy at every position.

    Attributes:
        data: where examples come from.
        length: T, examples of a sequence, the last one's prediction included.
        features: rows of A, whatever N_x is, so that one model reads any data set.
        slots: width of the labels; at least as many as classes.
        num_tasks: n; None for infinitely many.
        pool: seed of the n tasks.
        in_place: the part q of the sequences whose classes stay in their places; their A is always new.
        distinct: no example comes twice in a sequence.

    Raises:
        ValueError: sizes below one, more classes than slots, targets that are no classes, a part that is none, or
            sequences of more distinct examples than there are.

    Paper: arXiv 2212.04458, section 3 (A in R^{N_x x N_x}) and, for q, section 4.4.
    Differs: A may have fewer rows than columns; each sequence is in place with probability q, where the paper's batch
        has a fixed part of them; examples are distinct.
    """

    data: Dataset
    length: int = 50
    features: int = 32
    slots: int = 10
    num_tasks: int | None = None
    pool: int = 0
    in_place: float = 0.0
    distinct: bool = True

    def __post_init__(self) -> None:
        for name in ("length", "features", "slots"):
            if getattr(self, name) < 1:
                raise ValueError(f"ProjectedClassification: {name} must be at least 1 (got {getattr(self, name)})")
        if self.num_tasks is not None and not 1 <= self.num_tasks < 2**31:
            raise ValueError(
                f"ProjectedClassification: num_tasks must be in [1, 2**31), or None for infinity (got {self.num_tasks})"
            )
        if not np.issubdtype(self.data.train.targets.dtype, np.integer) or self.data.train.targets.ndim != 1:
            raise ValueError(
                "ProjectedClassification: targets must be one class per example "
                f"(got {self.data.train.targets.dtype.name}{list(self.data.train.targets.shape)})"
            )
        if self.data.outputs > self.slots:
            raise ValueError(
                f"ProjectedClassification: {self.data.outputs} classes need as many slots (got {self.slots})"
            )
        if not 0 <= self.in_place <= 1:
            raise ValueError(f"ProjectedClassification: in_place must be in [0, 1] (got {self.in_place})")
        fewest = min(len(self.data.train), len(self.data.held_out))
        if self.distinct and self.length > fewest:
            raise ValueError(
                f"ProjectedClassification: sequences of {self.length} distinct examples need as many of each part "
                f"(got {fewest}); make them shorter, or distinct=False"
            )

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Mean and deviation of all numbers of the training inputs."""
        x = self.data.train.inputs
        return float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)) or 1.0

    def sample(self, key: Key) -> Projection:
        """One of the n tasks, or a new one."""
        key_task, key_place = jax.random.split(key)
        in_place = jax.random.bernoulli(key_place, self.in_place)
        words = jax.random.key_data(key_task)
        if self.num_tasks is not None:
            key_number, key_new = jax.random.split(key_task)
            number = jax.random.randint(key_number, (), 0, self.num_tasks)
            words = jnp.where(in_place, jax.random.key_data(key_new), self.numbered(number).words)
        return Projection(words, in_place)

    def numbered(self, number: int | Int[Array, ""]) -> Projection:
        """Task k of the pool."""
        key = jax.random.fold_in(jax.random.key(self.pool), number)
        return Projection(jax.random.key_data(key), jnp.zeros((), bool))

    def drawn(self, task: Projection) -> tuple[Float[Array, "features N"], Int[Array, " slots"]]:
        """A `[features, N_x]`, and rho: the slot of every class, and after them the slots without one."""
        key_projection, key_labels = jax.random.split(jax.random.wrap_key_data(task.words))
        size = math.prod(self.data.train.inputs.shape[1:])
        projection = jax.random.normal(key_projection, (self.features, size)) * size**-0.5
        slots = jnp.arange(self.slots)
        return projection, jnp.where(task.in_place, slots, jax.random.permutation(key_labels, slots))

    def context(self, key: Key, task: Projection, *, held_out: bool) -> Context:
        """A x_t, the one-hot of the label before, and the label of every position."""
        part = self.data.held_out if held_out else self.data.train
        if self.distinct:
            index = draw_distinct(key, len(part), self.length)
        else:
            index = jax.random.randint(key, (self.length,), 0, len(part))
        mean, std = self._scale
        x = (jnp.asarray(part.inputs)[index].reshape(self.length, -1) - mean) / std
        projection, places = self.drawn(task)
        labels = places[jnp.asarray(part.targets)[index]]
        told = jax.nn.one_hot(labels[:-1], self.slots)
        return Context(x @ projection.T, jnp.concatenate([jnp.zeros((1, self.slots)), told]), labels)

    def losses(
        self, task: Projection, outputs: Float[Array, "T slots"], targets: Int[Array, " T"]
    ) -> tuple[Float[Array, " T"], Metrics]:
        """Cross-entropy in nats, and whether the likeliest slot is right."""
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return loss, {"accuracy": (jnp.argmax(outputs, -1) == targets).astype(jnp.float32)}


def draw_distinct(key: Key, population: int, number: int) -> Int[Array, " number"]:
    """`number` different numbers below `population` in random order, every choice equally likely.

    Its cost does not grow with the population (Floyd's algorithm: whatever was drawn before becomes the range's end).
    """
    key_draw, key_order = jax.random.split(key)
    ends = jnp.arange(population - number, population)
    drawn = jax.random.randint(key_draw, (number,), 0, ends + 1)

    def body(i: Array, kept: Array) -> Array:
        return kept.at[i].set(jnp.where((kept == drawn[i]).any(), ends[i], drawn[i]))

    return jax.random.permutation(key_order, jax.lax.fori_loop(0, number, body, jnp.full((number,), -1)))
