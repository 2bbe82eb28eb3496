"""Networks of supervised learners. Each takes a batch `[B, ...]`."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.types import Params, PyTree


class Perceptron(nn.Module):
    """Dense layers over the flattened input; it tells how active its hidden neurons are (`dormancy`)."""

    hidden: Sequence[int]
    features: int
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B *f"]) -> Float[Array, "B features"]:
        """Outputs."""
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = self.activation(nn.Dense(width, name=f"Dense_{i}")(x))
            self.sow("activity", f"after_Dense_{i}", jnp.abs(x).mean(0))
        return nn.Dense(self.features, name=f"Dense_{len(self.hidden)}")(x)


class ConvNet(nn.Module):
    """3x3 convolutions of stride 2 with ReLU, a mean over the image, a linear layer."""

    channels: Sequence[int]
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "B height width C"]) -> Float[Array, "B features"]:
        """Outputs."""
        for i, width in enumerate(self.channels):
            x = nn.relu(nn.Conv(width, (3, 3), strides=(2, 2), name=f"Conv_{i}")(x))
            self.sow("activity", f"after_Conv_{i}", jnp.abs(x).mean((0, 1, 2)))
        return nn.Dense(self.features)(x.mean((1, 2)))


class Transformer(nn.Module):
    """A causal transformer over characters: learned positions, layer normalisation first in every block."""

    vocabulary: int
    width: int = 32
    layers: int = 2
    heads: int = 2

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L vocabulary"]:
        """Logits of each next character."""
        length = tokens.shape[1]
        position = self.param("position", nn.initializers.normal(0.02), (1, length, self.width))
        x = nn.Embed(self.vocabulary, self.width)(tokens) + position
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            x = x + nn.MultiHeadDotProductAttention(self.heads, use_bias=False)(nn.LayerNorm()(x), mask=mask)
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(self.vocabulary)(nn.LayerNorm()(x))


class Recurrent(nn.Module):
    """A GRU over characters."""

    vocabulary: int
    width: int = 32

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L vocabulary"]:
        """Logits of each next character."""
        x = nn.Embed(self.vocabulary, self.width)(tokens)
        return nn.Dense(self.vocabulary)(nn.RNN(nn.GRUCell(self.width))(x))


def apply_and_watch(net: nn.Module, params: Params, x: Any) -> tuple[Array, PyTree]:
    """Outputs, and the dormancy: a tree like `params` of each neuron's activity relative to its layer's mean.

    A network tells by `self.sow("activity", "after_<layer>", mean |activation|)`; it is 1 where it does not. Parameters
    belong to the neuron they feed, along their last axis.

    Paper: arXiv 2302.12902 (dormant neurons), as an input of OPEN, arXiv 2407.07082.
    """
    out, kept = net.apply({"params": params}, x, mutable=["activity"])

    def of(path: Any, leaf: Array) -> Array:
        layer: Any = kept.get("activity", {})
        for entry in path[:-2]:
            layer = layer.get(entry.key, {})
        if len(path) < 2 or f"after_{path[-2].key}" not in layer:
            return jnp.ones((1,) * leaf.ndim)
        (activity,) = layer[f"after_{path[-2].key}"]
        return (activity / (activity.mean() + 1e-8)).reshape((1,) * (leaf.ndim - 1) + (-1,))

    return out, jax.tree.map_with_path(of, params)
