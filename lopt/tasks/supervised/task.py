"""Supervised tasks: a data set, or text, and a network."""

import functools
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from lopt.tasks.supervised.data import Dataset
from lopt.tasks.supervised.networks import apply_with_dormancy
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


VOCABULARY = 97
"""Vocabulary size: the line feed, the 95 printable ASCII characters, and one token for all other characters."""


def encode(text: str) -> np.ndarray:
    """The tokens of a text, one per character: integers `[n]` in [0, VOCABULARY)."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.int64)
    printable = (codes >= 32) & (codes < 127)
    return np.where(printable, codes - 31, np.where(codes == 10, 0, VOCABULARY - 1)).astype(np.int32)


@functools.cache
def standard_library(size: int = 500_000) -> np.ndarray:
    """The first `size` characters of the standard library's top-level modules in alphabetical order, encoded.

    The text depends on the version of Python that runs.

    Raises:
        ValueError: the library is shorter than `size`, or was installed without its source.
    """
    parts, number = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        if number >= size:
            break
        parts.append(encode(path.read_text(encoding="utf-8", errors="replace")))
        number += len(parts[-1])
    if number < size:
        raise ValueError(f"standard_library: the source has {number} characters (expected at least {size})")
    return np.concatenate(parts)[:size]


@dataclass(frozen=True, eq=False, kw_only=True)
class LanguageTask:
    """Next-character prediction on a text; the last tenth of the text is held out.

    Attributes:
        tokens: the text as integer tokens `[n]`, such as `standard_library()`.
        net: a Flax module from tokens `[B, L]` to logits `[B, L, vocabulary]`.
        batch_size: B, sequences per minibatch.
        length: L, characters per sequence.

    Raises:
        ValueError: a size is below one, or a tenth of the text is shorter than `length + 1`.
    """

    tokens: np.ndarray
    net: nn.Module
    batch_size: int = 8
    length: int = 32

    def __post_init__(self) -> None:
        for name in ("batch_size", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"LanguageTask: {name} must be at least 1 (got {getattr(self, name)})")
        if self.tokens.ndim != 1 or len(self.tokens) // 10 <= self.length:
            raise ValueError(
                f"LanguageTask: tokens must be a vector of more than {10 * (self.length + 1)} numbers "
                f"(got shape {self.tokens.shape})"
            )

    def sample(self, key: Key) -> Any:
        """`()`: there is a single task instance; levels differ in initialisation and minibatches only."""
        return ()

    def init(self, key: Key, variation: Any) -> Params:
        """Initial parameters of the network."""
        return self.net.init(key, jnp.zeros((1, self.length), jnp.int32))["params"]

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> Int[Array, "B L1"]:
        """Random substrings of `length + 1` tokens of the training or the held-out part, `[B, L + 1]`."""
        boundary = len(self.tokens) - len(self.tokens) // 10
        low, high = (boundary, len(self.tokens)) if held_out else (0, boundary)
        starts = jax.random.randint(key, (self.batch_size, 1), low, high - self.length)
        return jnp.asarray(self.tokens)[starts + jnp.arange(self.length + 1)[None]]

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """Mean cross-entropy per character, in nats; metric `accuracy`, optimizer argument `dormancy`."""
        logits, dormancy = apply_with_dormancy(self.net, params, batch[:, :-1])
        loss, metrics = cross_entropy(logits.reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1))
        return loss, (metrics, {"dormancy": dormancy})
