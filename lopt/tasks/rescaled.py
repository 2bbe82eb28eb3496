"""Task augmentation: the same function of parameters in other units."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

from lopt.protocols import Task
from lopt.types import Key, Params, PyTree, TaskLoss


class Units(struct.PyTreeNode):
    """The factor of every tensor, a tree like the parameters, and the inner task's variation."""

    scale: PyTree
    inner: Any


@dataclass(frozen=True)
class Rescaled:
    """Reparametrises `task`: the optimizer sees w / s where the task has w, with a random factor s for every tensor.

    The losses at birth, and all that can be reached, stay the same; gradients grow by s and parameters shrink by it, so
    that an optimizer trained on many s cannot count on the scale of either. log s is uniform.

    Attributes:
        task: the task.
        smallest: least s.
        largest: greatest s.

    Raises:
        ValueError: not 0 < smallest <= largest.

    Paper: arXiv 2009.11243 and arXiv 2211.09760 (reparametrisation augmentation); range 1e-3 to 1e3 there.
    """

    task: Task
    smallest: float = 1e-3
    largest: float = 1e3

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < float("inf"):
            raise ValueError(
                f"Rescaled: expected 0 < smallest <= largest (got {self.smallest} and {self.largest}), both finite"
            )

    def sample(self, key: Key) -> Units:
        """Factors, and the inner variation."""
        key_scale, key_inner = jax.random.split(key)
        inner = self.task.sample(key_inner)
        shapes = jax.eval_shape(self.task.init, key, inner)
        ends = jnp.log(jnp.array([self.smallest, self.largest]))

        def factor(key: Key, shape: Any, dtype: Any) -> Array:
            return jnp.exp(jax.random.uniform(key, shape, dtype, minval=ends[0], maxval=ends[1]))

        one_each = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1,) * len(x.shape), x.dtype), shapes)
        leaves, structure = jax.tree.flatten(one_each)
        keys = jax.random.split(key_scale, len(leaves))
        drawn = [factor(key, x.shape, x.dtype) for key, x in zip(keys, leaves, strict=True)]
        return Units(jax.tree.unflatten(structure, drawn), inner)

    def init(self, key: Key, variation: Units) -> Params:
        """The inner task's parameters, divided."""
        return jax.tree.map(jnp.divide, self.task.init(key, variation.inner), variation.scale)

    def batch(self, key: Key, variation: Units, *, held_out: bool) -> Any:
        """The inner task's."""
        return self.task.batch(key, variation.inner, held_out=held_out)

    def loss(self, variation: Units, params: Params, batch: Any) -> TaskLoss:
        """The inner task's, of the parameters in its units."""
        return self.task.loss(variation.inner, jax.tree.map(jnp.multiply, params, variation.scale), batch)
