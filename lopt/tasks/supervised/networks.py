"""Small networks for supervised tasks. Each takes a batch `[B, ...]`."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.nets import apply_with_activity, dormancy, record_activity
from lopt.types import Params, PyTree


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
    def __call__(self, x: Float[Array, "B *f"]) -> Float[Array, "B features"]:
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
