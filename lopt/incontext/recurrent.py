"""Stacked layers and initialisers shared by the recurrent sequence models."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Stack(nn.Module):
    """Stacked recurrent layers, each applied to the whole sequence, and a linear output layer.

    Attributes:
        outputs: width of the output layer.
        layers: number of layers.
        layer: makes a module over a sequence from its name.
    """

    outputs: int
    layers: int
    layer: Callable[[str], nn.Module]

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        """Outputs `[T, outputs]` for the input tokens of one sequence."""
        for i in range(self.layers):
            tokens = self.layer(f"layer_{i}")(tokens)
        return nn.Dense(self.outputs, name="head")(tokens)


def orthogonal_gates(gates: int) -> nn.initializers.Initializer:
    """Initialiser of a matrix `[size, gates * size]` with an orthogonal block for every gate."""
    orthogonal = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        keys = jax.random.split(key, gates)
        return jnp.concatenate([orthogonal(k, (shape[0], shape[1] // gates), dtype) for k in keys], -1)

    return init
