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

    x is first standardised by the training inputs, so that the entries of A x have variance one. A task is never
    stored: `sample` gives the words of a key, from which A and rho are drawn whenever they are needed. With `num_tasks`
    n the tasks are those of the keys fold_in(key(pool), k), k < n; every sequence draws new examples, whatever the
    number of tasks. Loss: cross-entropy at every position.

    Two things shorten the plateau on which nothing is learned in context. Without the mean image, which is most of a
    digit's norm, inner products of projected inputs say more of their classes. And where some sequences are of a few
    of the classes only, remembering which labels were seen already pays, and what remembers them can then be told where
    to look.

    Attributes:
        data: where examples come from.
        length: T, examples of a sequence, the last one's prediction included.
        features: rows of A, whatever N_x is, so that one model reads any data set.
        slots: width of the labels; at least as many as classes.
        num_tasks: n; None for infinitely many.
        pool: seed of the n tasks.
        in_place: the part q of the sequences whose classes stay in their places; their A is always new.
        distinct: no example comes twice in a sequence.
        fewest: a sequence's examples are of so many of the classes or more, up to all, each number being as likely;
            None for always all.
        centred: the mean of the training inputs is taken off number by number, and what is left divided by one
            deviation; otherwise one mean and one deviation are those of all numbers.

    Raises:
        ValueError: sizes below one, more classes than slots, targets that are no classes, a part that is none, or
            sequences of more distinct examples than there are.

    Paper: arXiv 2212.04458, section 3 (A in R^{N_x x N_x}) and, for q, section 4.4.
    Differs: A may have fewer rows than columns; each sequence is in place with probability q, where the paper's batch
        has a fixed part of them; examples are distinct; `fewest` and `centred` (the paper: None and False).
    """

    data: Dataset
    length: int = 50
    features: int = 32
    slots: int = 10
    num_tasks: int | None = None
    pool: int = 0
    in_place: float = 0.0
    distinct: bool = True
    fewest: int | None = None
    centred: bool = True

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
        if self.fewest is not None and not 1 <= self.fewest <= self.data.outputs:
            raise ValueError(
                f"ProjectedClassification: fewest must be in [1, {self.data.outputs}], the number of classes, or None "
                f"(got {self.fewest})"
            )
        for part in (self.data.train, self.data.held_out) if self.distinct else ():
            counts = np.sort(np.bincount(part.targets, minlength=self.data.outputs))
            least = counts[: self.fewest].sum()
            if self.length > least:
                raise ValueError(
                    f"ProjectedClassification: sequences of {self.length} distinct examples need as many of each part "
                    f"(got {least}); make them shorter, raise fewest, or set distinct=False"
                )

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.float32]:
        """What is taken off an input, and what the rest is divided by."""
        x = self.data.train.inputs.reshape(len(self.data.train), -1).astype(np.float64)
        mean = x.mean(0) if self.centred else np.full(x.shape[1], x.mean())
        return mean.astype(np.float32), np.float32((x - mean).std() or 1.0)

    @cached_property
    def _by_class(self) -> dict[bool, tuple[np.ndarray, np.ndarray]]:
        """For the held-out part and the other: the examples in the order of their classes, and how many a class has."""
        parts = {True: self.data.held_out.targets, False: self.data.train.targets}
        return {
            which: (np.argsort(x, kind="stable"), np.bincount(x, minlength=self.data.outputs))
            for which, x in parts.items()
        }

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
        index = self._examples(key, held_out)
        mean, std = self._scale
        x = (jnp.asarray(part.inputs)[index].reshape(self.length, -1) - mean[None]) / std
        projection, places = self.drawn(task)
        labels = places[jnp.asarray(part.targets)[index]]
        told = jax.nn.one_hot(labels[:-1], self.slots)
        return Context(x @ projection.T, jnp.concatenate([jnp.zeros((1, self.slots)), told]), labels)

    def _examples(self, key: Key, held_out: bool) -> Int[Array, " T"]:
        """Which examples a sequence is of."""
        key_number, key_classes, key_examples = jax.random.split(key, 3)
        order, counts = self._by_class[held_out]
        classes, population = jnp.arange(self.data.outputs), jnp.int32(len(order))
        if self.fewest is not None:
            # the chosen classes come first; a number below their examples' is one of these examples
            number = jax.random.randint(key_number, (), self.fewest, self.data.outputs + 1)
            classes = jax.random.permutation(key_classes, classes)
            population = jnp.where(jnp.arange(self.data.outputs) < number, jnp.asarray(counts)[classes], 0).sum()
        if self.distinct:
            drawn = draw_distinct(key_examples, population, self.length)
        else:
            drawn = jax.random.randint(key_examples, (self.length,), 0, population)
        sizes = jnp.asarray(counts)[classes]
        ends = jnp.cumsum(sizes)
        place = jnp.searchsorted(ends, drawn, side="right", method="compare_all")
        starts = jnp.asarray(np.cumsum(counts) - counts)[classes]
        return jnp.asarray(order)[starts[place] + drawn - (ends - sizes)[place]]

    def losses(
        self, task: Projection, outputs: Float[Array, "T slots"], targets: Int[Array, " T"]
    ) -> tuple[Float[Array, " T"], Metrics]:
        """Cross-entropy in nats, and whether the likeliest slot is right."""
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return loss, {"accuracy": (jnp.argmax(outputs, -1) == targets).astype(jnp.float32)}


def draw_distinct(key: Key, population: int | Int[Array, ""], number: int) -> Int[Array, " number"]:
    """`number` different numbers below `population` in random order, every choice equally likely.

    Its cost does not grow with the population (Floyd's algorithm: whatever was drawn before becomes the range's end).
    """
    key_draw, key_order = jax.random.split(key)
    ends = population - number + jnp.arange(number)
    drawn = jax.random.randint(key_draw, (number,), 0, ends + 1)

    def body(i: Array, kept: Array) -> Array:
        return kept.at[i].set(jnp.where((kept == drawn[i]).any(), ends[i], drawn[i]))

    return jax.random.permutation(key_order, jax.lax.fori_loop(0, number, body, jnp.full((number,), -1)))
