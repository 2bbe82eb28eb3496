"""Task augmentation by reparametrisation: random rescaling of every parameter tensor."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

from lopt.protocols import Task
from lopt.types import Key, Params, PyTree, TaskLoss


class RescaledVariation(struct.PyTreeNode):
    """Task instance of `Rescaled`.

    Attributes:
        scale: the factor s of every parameter tensor, a tree like the parameters.
        inner: variation of the inner task.
    """

    scale: PyTree
    inner: Any


@dataclass(frozen=True, kw_only=True)
class Rescaled:
    """Reparametrises `task`: the optimizer's parameters are w / s for the task's parameters w, one s per tensor.

    log s is uniform on [log smallest, log largest], drawn per level. The initial loss and the set of reachable losses
    do not change. Gradients are multiplied and parameters divided by s, so that an optimizer meta-trained on many s
    cannot rely on the scale of either.

    Attributes:
        task: the inner task.
        smallest: lower end of the range of s.
        largest: upper end of the range of s.

    Raises:
        ValueError: 0 < smallest <= largest < infinity does not hold.

    Paper: arXiv 2009.11243 and arXiv 2211.09760 (reparametrisation augmentation, range 1e-3 to 1e3).
    """

    task: Task
    smallest: float = 1e-3
    largest: float = 1e3

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < float("inf"):
            raise ValueError(
                f"Rescaled: expected 0 < smallest <= largest (got {self.smallest} and {self.largest}), both finite"
            )

    def sample(self, key: Key) -> RescaledVariation:
        """Random factors, and a variation of the inner task."""
        key_scale, key_inner = jax.random.split(key)
        inner = self.task.sample(key_inner)
        shapes = jax.eval_shape(self.task.init, key, inner)
        log_range = jnp.log(jnp.array([self.smallest, self.largest]))

        def factor(key: Key, shape: Any, dtype: Any) -> Array:
            return jnp.exp(jax.random.uniform(key, shape, dtype, minval=log_range[0], maxval=log_range[1]))

        scalars = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1,) * len(x.shape), x.dtype), shapes)
        leaves, structure = jax.tree.flatten(scalars)
        keys = jax.random.split(key_scale, len(leaves))
        factors = [factor(key, x.shape, x.dtype) for key, x in zip(keys, leaves, strict=True)]
        return RescaledVariation(jax.tree.unflatten(structure, factors), inner)

    def init(self, key: Key, variation: RescaledVariation) -> Params:
        """Initial parameters of the inner task, divided by s."""
        return jax.tree.map(jnp.divide, self.task.init(key, variation.inner), variation.scale)

    def batch(self, key: Key, variation: RescaledVariation, *, held_out: bool) -> Any:
        """A minibatch of the inner task."""
        return self.task.batch(key, variation.inner, held_out=held_out)

    def loss(self, variation: RescaledVariation, params: Params, batch: Any) -> TaskLoss:
        """Loss of the inner task at the parameters multiplied by s."""
        return self.task.loss(variation.inner, jax.tree.map(jnp.multiply, params, variation.scale), batch)
