"""In-context classification tasks from one data set, by random projections and random label permutations."""

import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt

from lopt.tasks.supervised.data import Dataset
from lopt.types import Context, Key, Metrics


class Projection(struct.PyTreeNode):
    """A task, stored as the random state that determines it.

    Attributes:
        projection_seed: data of the PRNG key from which A and rho are drawn.
        permute_labels: whether rho is random; otherwise rho is the identity.
    """

    projection_seed: UInt[Array, "*n key"]
    permute_labels: Bool[Array, "*n"]


@dataclass(frozen=True, kw_only=True)
class ProjectedClassification:
    """Tasks {(A x, rho(y))} from a data set {(x, y)}: A_ij ~ N(0, 1 / N_x), rho a random injection of classes to slots.

    x is standardised by the training inputs, so that the entries of A x have variance one. A task is stored as the seed
    of A and rho (`Projection`), and both are drawn again wherever they are needed. With n = `num_tasks`, the tasks are
    those of the keys fold_in(key(pool_seed), k), k < n. Every sequence draws new examples, whatever the number of
    tasks. The loss is the cross-entropy at every position.

    `centred` and `min_classes` shorten the initial plateau on which nothing is learned in context. Without the mean
    image, which is most of a digit's norm, inner products of projected inputs carry more class information. Sequences
    with few classes reward attention to earlier labels alone, which is learned before attention to similar inputs.

    Attributes:
        data: the data set from which examples are drawn.
        length: T, examples per sequence; the model predicts at every one.
        features: rows of A, independent of N_x, so that one model can read any data set.
        slots: width of the one-hot labels, at least the number of classes.
        num_tasks: n; None for infinitely many tasks.
        pool_seed: seed of the n tasks.
        unpermuted: probability q that rho is the identity; such sequences always have a new A.
        distinct: whether the examples of a sequence are drawn without replacement.
        min_classes: the number of classes in a sequence is uniform from this to all classes; None for always all.
        centred: if true, subtract the mean of every input feature, then divide by the standard deviation over all
            features; otherwise use one mean and one standard deviation for all features.

    Raises:
        ValueError: a size is below one, there are more classes than slots, targets are not classes, a probability is
            not in [0, 1], or sequences need more distinct examples than there are.

    Paper: arXiv 2212.04458, section 3 (A in R^{N_x x N_x}) and, for q, section 4.4.
    Differs: A may have fewer rows than columns; each sequence is unpermuted with probability q, where the paper fixes
        their fraction of a batch; examples are distinct; `min_classes` and `centred` (paper: None and False).
    """

    data: Dataset
    length: int = 50
    features: int = 32
    slots: int = 10
    num_tasks: int | None = None
    pool_seed: int = 0
    unpermuted: float = 0.0
    distinct: bool = True
    min_classes: int | None = None
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
        if not 0 <= self.unpermuted <= 1:
            raise ValueError(f"ProjectedClassification: unpermuted must be in [0, 1] (got {self.unpermuted})")
        if self.min_classes is not None and not 1 <= self.min_classes <= self.data.outputs:
            raise ValueError(
                f"ProjectedClassification: min_classes must be in [1, {self.data.outputs}], the number of classes, or "
                f"None (got {self.min_classes})"
            )
        for part in (self.data.train, self.data.held_out) if self.distinct else ():
            counts = np.sort(np.bincount(part.targets, minlength=self.data.outputs))
            available = counts[: self.min_classes].sum()
            if self.length > available:
                raise ValueError(
                    f"ProjectedClassification: sequences of {self.length} distinct examples need as many in train and "
                    f"in held_out (got {available}); lower length, raise min_classes, or set distinct=False"
                )

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.float32]:
        """The mean that is subtracted from an input, and the standard deviation by which it is divided."""
        x = self.data.train.inputs.reshape(len(self.data.train), -1).astype(np.float64)
        mean = x.mean(0) if self.centred else np.full(x.shape[1], x.mean())
        return mean.astype(np.float32), np.float32((x - mean).std() or 1.0)

    @cached_property
    def _by_class(self) -> dict[bool, tuple[np.ndarray, np.ndarray]]:
        """By `held_out`: the indices of the examples sorted by class, and the number of examples of every class."""
        parts = {True: self.data.held_out.targets, False: self.data.train.targets}
        return {
            held_out: (np.argsort(targets, kind="stable"), np.bincount(targets, minlength=self.data.outputs))
            for held_out, targets in parts.items()
        }

    def sample(self, key: Key) -> Projection:
        """One of the n tasks, or a new task if `num_tasks` is None."""
        key_task, key_unpermuted = jax.random.split(key)
        unpermuted = jax.random.bernoulli(key_unpermuted, self.unpermuted)
        seed = jax.random.key_data(key_task)
        if self.num_tasks is not None:
            key_index, key_new = jax.random.split(key_task)
            index = jax.random.randint(key_index, (), 0, self.num_tasks)
            seed = jnp.where(unpermuted, jax.random.key_data(key_new), self.pool_task(index).projection_seed)
        return Projection(seed, ~unpermuted)

    def pool_task(self, index: int | Int[Array, ""]) -> Projection:
        """Task k of the pool of n tasks."""
        key = jax.random.fold_in(jax.random.key(self.pool_seed), index)
        return Projection(jax.random.key_data(key), jnp.ones((), bool))

    def matrix_and_permutation(self, task: Projection) -> tuple[Float[Array, "features N"], Int[Array, " slots"]]:
        """A `[features, N_x]`, and rho as a permutation of the slots: entry y is the slot of class y."""
        key_projection, key_labels = jax.random.split(jax.random.wrap_key_data(task.projection_seed))
        size = math.prod(self.data.train.inputs.shape[1:])
        projection = jax.random.normal(key_projection, (self.features, size)) * size**-0.5
        slots = jnp.arange(self.slots)
        return projection, jnp.where(task.permute_labels, jax.random.permutation(key_labels, slots), slots)

    def context(self, key: Key, task: Projection, *, held_out: bool) -> Context:
        """A random sequence: inputs A x_t, one-hot previous labels, and labels rho(y_t) as targets `[T]`."""
        part = self.data.held_out if held_out else self.data.train
        index = self._draw_examples(key, held_out)
        mean, std = self._scale
        x = (jnp.asarray(part.inputs)[index].reshape(self.length, -1) - mean[None]) / std
        projection, permutation = self.matrix_and_permutation(task)
        labels = permutation[jnp.asarray(part.targets)[index]]
        previous = jax.nn.one_hot(labels[:-1], self.slots)
        return Context(x @ projection.T, jnp.concatenate([jnp.zeros((1, self.slots)), previous]), labels)

    def _draw_examples(self, key: Key, held_out: bool) -> Int[Array, " T"]:
        """Indices of the examples of a random sequence."""
        key_number, key_classes, key_examples = jax.random.split(key, 3)
        order, counts = self._by_class[held_out]
        classes, population = jnp.arange(self.data.outputs), jnp.int32(len(order))
        if self.min_classes is not None:
            # a random order of the classes, of which the first `number` are used
            number = jax.random.randint(key_number, (), self.min_classes, self.data.outputs + 1)
            classes = jax.random.permutation(key_classes, classes)
            population = jnp.where(jnp.arange(self.data.outputs) < number, jnp.asarray(counts)[classes], 0).sum()
        if self.distinct:
            drawn = sample_without_replacement(key_examples, population, self.length)
        else:
            drawn = jax.random.randint(key_examples, (self.length,), 0, population)
        sizes = jnp.asarray(counts)[classes]
        ends = jnp.cumsum(sizes)
        position = jnp.searchsorted(ends, drawn, side="right", method="compare_all")
        offsets = jnp.asarray(np.cumsum(counts) - counts)[classes]
        return jnp.asarray(order)[offsets[position] + drawn - (ends - sizes)[position]]

    def losses(
        self, task: Projection, outputs: Float[Array, "T slots"], targets: Int[Array, " T"]
    ) -> tuple[Float[Array, " T"], Metrics]:
        """Cross-entropy `[T]` in nats, and metric `accuracy` `[T]`: 1 where the most probable slot is correct."""
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return loss, {"accuracy": (jnp.argmax(outputs, -1) == targets).astype(jnp.float32)}


def sample_without_replacement(key: Key, population: int | Int[Array, ""], number: int) -> Int[Array, " number"]:
    """A uniformly random sequence of `number` distinct integers in [0, population).

    Floyd's algorithm: a repeated draw is replaced by the end of its range. The cost is independent of `population`.
    """
    key_draw, key_order = jax.random.split(key)
    ends = population - number + jnp.arange(number)
    drawn = jax.random.randint(key_draw, (number,), 0, ends + 1)

    def body(i: Array, chosen: Array) -> Array:
        return chosen.at[i].set(jnp.where((chosen == drawn[i]).any(), ends[i], drawn[i]))

    return jax.random.permutation(key_order, jax.lax.fori_loop(0, number, body, jnp.full((number,), -1)))
