"""Supervised tasks: a data set, or text, and a small network; and tasks with rescaled parameters. Each network takes a
batch `[B, ...]`.
"""

import functools
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.nets import apply_with_activity, dormancy, record_activity
from lopt.protocols import Task
from lopt.tasks.supervised.data import Dataset
from lopt.types import Key, Metrics, Params, PyTree, TaskLoss


class Perceptron(nn.Module):
    """A multi-layer perceptron on the flattened input, which records the activity of its neurons.

    Attributes:
        hidden: widths of the hidden layers.
        features: width of the output.
        activation: of the hidden layers.
    """

    hidden: Sequence[int]
    features: int
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, " B *f"]) -> Float[Array, "B features"]:
        """The output layer's values, for example logits."""
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = self.activation(nn.Dense(width, name=f"Dense_{i}")(x))
            record_activity(self, f"Dense_{i}", jnp.abs(x).mean(0))
        output = f"Dense_{len(self.hidden)}"
        out = nn.Dense(self.features, name=output)(x)
        record_activity(self, output, jnp.abs(out).mean(0))
        return out


class ConvNet(nn.Module):
    """3x3 convolutions of stride 2 with ReLU, global average pooling, and a linear output layer.

    Attributes:
        channels: output channels of every convolution.
        features: width of the output.
    """

    channels: Sequence[int]
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B features"]:
        """The output layer's values, for example logits."""
        for i, width in enumerate(self.channels):
            x = nn.relu(nn.Conv(width, (3, 3), strides=(2, 2), name=f"Conv_{i}")(x))
            record_activity(self, f"Conv_{i}", jnp.abs(x).mean((0, 1, 2)))
        out = nn.Dense(self.features, name="Dense_0")(x.mean((1, 2)))
        record_activity(self, "Dense_0", jnp.abs(out).mean(0))
        return out


class Transformer(nn.Module):
    """A causal pre-LN transformer over tokens with learned position embeddings.

    Attributes:
        vocabulary: number of tokens.
        width: of the residual stream.
        layers: number of blocks.
        heads: attention heads per block.
    """

    vocabulary: int
    width: int = 32
    layers: int = 2
    heads: int = 2

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L vocabulary"]:
        """Logits of the next token at every position."""
        length = tokens.shape[1]
        position = self.param("position", nn.initializers.normal(0.02), (1, length, self.width))
        x = nn.Embed(self.vocabulary, self.width)(tokens) + position
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            x = x + nn.MultiHeadDotProductAttention(self.heads, use_bias=False)(nn.LayerNorm()(x), mask=mask)
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(self.vocabulary)(nn.LayerNorm()(x))


class Recurrent(nn.Module):
    """A GRU over tokens.

    Attributes:
        vocabulary: number of tokens.
        width: of the embeddings and of the recurrent state.
    """

    vocabulary: int
    width: int = 32

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L vocabulary"]:
        """Logits of the next token at every position."""
        x = nn.Embed(self.vocabulary, self.width)(tokens)
        return nn.Dense(self.vocabulary)(nn.RNN(nn.GRUCell(self.width))(x))


def apply_with_dormancy(net: nn.Module, params: Params, x: Any) -> tuple[Array, PyTree]:
    """Apply a network, and compute the dormancy of its neurons (`lopt.nets.dormancy`).

    Returns:
        The network's outputs, and a tree like `params` whose leaves broadcast to the parameters.
    """
    out, activity = apply_with_activity(net, params, x)
    return out, dormancy(activity, params)


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
