"""Predicting the next character of Python's own standard library."""

import functools
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from lopt.tasks.networks import apply_and_watch
from lopt.tasks.supervised import cross_entropy
from lopt.types import Key, Params, TaskLoss

VOCABULARY = 97
"""Line ends, the 95 printable characters of ASCII, and one sign for all others."""


def encode(text: str) -> np.ndarray:
    """Characters as numbers in [0, VOCABULARY)."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.int64)
    printable = (codes >= 32) & (codes < 127)
    return np.where(printable, codes - 31, np.where(codes == 10, 0, VOCABULARY - 1)).astype(np.int32)


@functools.cache
def standard_library(size: int = 500_000) -> np.ndarray:
    """The first `size` characters of the standard library's modules in alphabetical order, encoded.

    What they are depends on the version of Python that runs.

    Raises:
        ValueError: the library is shorter, or was installed without its source.
    """
    parts, number = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        if number >= size:
            break
        parts.append(encode(path.read_text(encoding="utf-8", errors="replace")))
        number += len(parts[-1])
    if number < size:
        raise ValueError(f"standard_library: there are only {number} characters of source (expected {size})")
    return np.concatenate(parts)[:size]


@dataclass(frozen=True, eq=False)
class LanguageTask:
    """A network learns to predict every next character of pieces of a text; the last tenth is held out.

    Attributes:
        tokens: the text as numbers (`standard_library()`).
        net: a Flax module from `[B, L]` to logits `[B, L, vocabulary]`.
        batch_size: pieces of a minibatch.
        length: L, characters of a piece.

    Raises:
        ValueError: a size below one, or a text of which a tenth is shorter than a piece.
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
        """Nothing varies but the initialisation and the minibatches."""
        return ()

    def init(self, key: Key, variation: Any) -> Params:
        """The network's parameters."""
        return self.net.init(key, jnp.zeros((1, self.length), jnp.int32))["params"]

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> Int[Array, "B L1"]:
        """Pieces of `length + 1` characters."""
        border = len(self.tokens) - len(self.tokens) // 10
        low, high = (border, len(self.tokens)) if held_out else (0, border)
        starts = jax.random.randint(key, (self.batch_size, 1), low, high - self.length)
        return jnp.asarray(self.tokens)[starts + jnp.arange(self.length + 1)[None]]

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """Cross-entropy per character, in nats."""
        logits, dormancy = apply_and_watch(self.net, params, batch[:, :-1])
        loss, metrics = cross_entropy(logits.reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1))
        return loss, (metrics, {"dormancy": dormancy})
