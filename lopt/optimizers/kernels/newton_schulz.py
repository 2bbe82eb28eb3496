"""The orthogonal factor of a matrix by matrix products alone."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.groups import Group


@dataclass(frozen=True)
class NewtonSchulz:
    """Steps of X <- a X + b (X X') X + c (X X')^2 X from X / |X|_F: every singular value goes towards one.

    For `Nuclear(polar=NewtonSchulz())`. The products are in the type of X (bfloat16 is meant).

    Attributes:
        steps: how many.
        coefficients: a, b, c. The default rises fastest at zero and does not converge: singular values end in about
            [0.68, 1.13], and smaller ones remain below that. (15/8, -5/4, 3/8) converges to one, more slowly.

    Raises:
        ValueError: fewer than one step.

    Paper: K. Jordan and others, Muon, 2024 (the coefficients).
    """

    steps: int = 5
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)

    def __post_init__(self) -> None:
        check_number("NewtonSchulz", "steps", self.steps, least=1)

    def __call__(self, x: Float[Array, "*n rows columns"]) -> Float[Array, "*n rows columns"]:
        """An approximation of U V'."""
        tall = x.shape[-2] > x.shape[-1]
        x = jnp.swapaxes(x, -1, -2) if tall else x
        x = Group(axis=(-2, -1)).map(x)
        a, b, c = self.coefficients
        for _ in range(self.steps):
            square = x @ jnp.swapaxes(x, -1, -2)
            x = a * x + (b * square + c * square @ square) @ x
        return jnp.swapaxes(x, -1, -2) if tall else x
