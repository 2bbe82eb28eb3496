"""Supervised learning of a data set with a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt.tasks.dataset import Dataset
from lopt.tasks.networks import apply_with_dormancy
from lopt.types import Key, Metrics, Params, TaskLoss

Loss = Callable[[Array, Array], tuple[Float[Array, ""], Metrics]]
"""A function from outputs `[B, F]` and targets of a batch to its mean loss and metrics."""


def cross_entropy(logits: Float[Array, "B C"], labels: Int[Array, " B"]) -> tuple[Float[Array, ""], Metrics]:
    """Mean cross-entropy in nats of logits `[B, C]` for integer classes `[B]`; metric `accuracy`."""
    # subtract the largest logit: next to large logits log(sum exp) is rounded away, and every loss would be zero
    logits = logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, {"accuracy": (jnp.argmax(logits, -1) == labels).mean()}


def squared_error(outputs: Float[Array, "B F"], targets: Float[Array, "B F"]) -> tuple[Float[Array, ""], Metrics]:
    """Mean squared error over examples and features; for standardised targets, the fraction of unexplained variance."""
    return jnp.square(outputs - targets).mean(), {}


@dataclass(frozen=True, kw_only=True)
class DatasetTask:
    """A network trained on a data set, with minibatches drawn with replacement.

    The loss returns the extra optimizer argument `dormancy` (`apply_with_dormancy`).

    Attributes:
        data: the data set.
        net: a Flax module from inputs `[B, ...]` to outputs `[B, F]`.
        criterion: `cross_entropy`, `squared_error`, or another `Loss`.
        batch_size: B, examples per minibatch.

    Raises:
        ValueError: `batch_size` is below one.
    """

    data: Dataset
    net: nn.Module
    criterion: Loss
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"DatasetTask: batch_size must be at least 1 (got {self.batch_size})")

    def sample(self, key: Key) -> Any:
        """`()`: there is a single task instance; levels differ in initialisation and minibatches only."""
        return ()

    def init(self, key: Key, variation: Any) -> Params:
        """Initial parameters of the network."""
        return self.net.init(key, jnp.asarray(self.data.train.inputs[:1]))["params"]

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> tuple[Array, Array]:
        """Inputs `[B, ...]` and targets `[B, ...]` of random training or held-out examples."""
        part = self.data.held_out if held_out else self.data.train
        index = jax.random.randint(key, (self.batch_size,), 0, len(part))
        return jnp.asarray(part.inputs)[index], jnp.asarray(part.targets)[index]

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """The criterion's loss and metrics, and the extra optimizer argument `dormancy`."""
        inputs, targets = batch
        outputs, dormancy = apply_with_dormancy(self.net, params, inputs)
        loss, metrics = self.criterion(outputs, targets)
        return loss, (metrics, {"dormancy": dormancy})
