"""What the recurrent sequence models share."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Stack(nn.Module):
    """Recurrent layers one above the other, each over the whole sequence, and a linear head.

    Attributes:
        outputs: width of the head.
        layers: how many.
        layer: from a name to a module over a sequence.
    """

    outputs: int
    layers: int
    layer: Callable[[str], nn.Module]

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        """Outputs for one sequence."""
        for i in range(self.layers):
            tokens = self.layer(f"layer_{i}")(tokens)
        return nn.Dense(self.outputs, name="head")(tokens)


def orthogonal_gates(gates: int) -> nn.initializers.Initializer:
    """Initialiser of a matrix `[size, gates * size]` that is orthogonal gate by gate."""
    one = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        keys = jax.random.split(key, gates)
        return jnp.concatenate([one(k, (shape[0], shape[1] // gates), dtype) for k in keys], -1)

    return init
