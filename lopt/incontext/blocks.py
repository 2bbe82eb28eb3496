"""What sequence models with residual blocks share."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float


class Blocks(nn.Module):
    """Tokens, positions, L blocks and a linear head: u += mix(norm(u)), u += mlp(norm(u)).

    Attributes:
        outputs: width of the head.
        width: of a token.
        layers: L.
        expansion: hidden width of the network, in tokens' widths.
        mix: from a name and an initialiser (of what writes into the tokens) to a module over a sequence of tokens.
        positions: learned positions; None for none.
    """

    outputs: int
    width: int
    layers: int
    expansion: int
    mix: Callable[[str, nn.initializers.Initializer], nn.Module]
    positions: int | None = None

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        """Outputs for one sequence."""
        u = nn.Dense(self.width, name="embed")(tokens)
        if self.positions is not None:
            position = self.param("position", nn.initializers.normal(0.02), (self.positions, self.width))
            u = u + position[: len(tokens)]
        into = nn.initializers.variance_scaling(1 / (2 * self.layers), "fan_in", "truncated_normal")
        for i in range(self.layers):
            u = u + self.mix(f"mix_{i}", into)(nn.LayerNorm(name=f"norm_mix_{i}")(u))
            h = nn.Dense(self.expansion * self.width, name=f"hidden_{i}")(nn.LayerNorm(name=f"norm_hidden_{i}")(u))
            u = u + nn.Dense(self.width, kernel_init=into, name=f"out_{i}")(nn.gelu(h))
        return nn.Dense(self.outputs, name="head")(nn.LayerNorm(name="norm_head")(u))
