"""Learning a data set with a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt.tasks.dataset import Dataset
from lopt.tasks.networks import apply_and_watch
from lopt.types import Key, Metrics, Params, TaskLoss

Loss = Callable[[Array, Array], tuple[Float[Array, ""], Metrics]]
"""From outputs and targets of a batch to their mean loss and metrics."""


def cross_entropy(logits: Float[Array, "B C"], labels: Int[Array, " B"]) -> tuple[Float[Array, ""], Metrics]:
    """Of classes, in nats."""
    # without the largest logit: beside large ones log(sum exp) is rounded away, and every answer seems right
    logits = logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, {"accuracy": (jnp.argmax(logits, -1) == labels).mean()}


def squared_error(outputs: Float[Array, "B F"], targets: Float[Array, "B F"]) -> tuple[Float[Array, ""], Metrics]:
    """Mean over examples and features; of standardised targets, the part of the variance that is not explained."""
    return jnp.square(outputs - targets).mean(), {}


@dataclass(frozen=True)
class DatasetTask:
    """A network learns a data set by minibatches that are drawn with replacement.

    Attributes:
        data: the examples.
        net: a Flax module from inputs `[B, ...]` to outputs `[B, F]`.
        criterion: `cross_entropy`, `squared_error`, or another `Loss`.
        batch_size: examples of a minibatch.

    Raises:
        ValueError: a `batch_size` below one.
    """

    data: Dataset
    net: nn.Module
    criterion: Loss
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"DatasetTask: batch_size must be at least 1 (got {self.batch_size})")

    def sample(self, key: Key) -> Any:
        """Nothing varies but the initialisation and the minibatches."""
        return ()

    def init(self, key: Key, variation: Any) -> Params:
        """The network's parameters."""
        return self.net.init(key, jnp.asarray(self.data.train.inputs[:1]))["params"]

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> tuple[Array, Array]:
        """Inputs and targets."""
        part = self.data.held_out if held_out else self.data.train
        index = jax.random.randint(key, (self.batch_size,), 0, len(part))
        return jnp.asarray(part.inputs)[index], jnp.asarray(part.targets)[index]

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """The criterion, its metrics, and the network's dormancy."""
        inputs, targets = batch
        outputs, dormancy = apply_and_watch(self.net, params, inputs)
        loss, metrics = self.criterion(outputs, targets)
        return loss, (metrics, {"dormancy": dormancy})
