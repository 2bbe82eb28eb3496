"""Residual blocks shared by the attention-based sequence models."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float


class Blocks(nn.Module):
    """Embedding, L pre-LN residual blocks and a linear output layer; a block is u += mix(norm(u)), u += mlp(norm(u)).

    Attributes:
        outputs: width of the output layer.
        width: of the residual stream.
        layers: L.
        expansion: hidden width of the MLP, as a multiple of `width`.
        mix: makes the token-mixing module `[T, width] -> [T, width]` from its name and the initialiser of its output
            projection.
        positions: number of learned position embeddings; None for no position embeddings.
    """

    outputs: int
    width: int
    layers: int
    expansion: int
    mix: Callable[[str, nn.initializers.Initializer], nn.Module]
    positions: int | None = None

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        """Outputs `[T, outputs]` for the input tokens of one sequence."""
        u = nn.Dense(self.width, name="embed")(tokens)
        if self.positions is not None:
            position = self.param("position", nn.initializers.normal(0.02), (self.positions, self.width))
            u = u + position[: len(tokens)]
        output_init = nn.initializers.variance_scaling(1 / (2 * self.layers), "fan_in", "truncated_normal")
        for i in range(self.layers):
            u = u + self.mix(f"mix_{i}", output_init)(nn.LayerNorm(name=f"norm_mix_{i}")(u))
            h = nn.Dense(self.expansion * self.width, name=f"hidden_{i}")(nn.LayerNorm(name=f"norm_hidden_{i}")(u))
            u = u + nn.Dense(self.width, kernel_init=output_init, name=f"out_{i}")(nn.gelu(h))
        return nn.Dense(self.outputs, name="head")(nn.LayerNorm(name="norm_head")(u))
