"""Newton-Schulz iteration for the orthogonal polar factor of a matrix, by matrix products alone."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.groups import Group


@dataclass(frozen=True)
class NewtonSchulz:
    """Iterates X <- a X + b (X X') X + c (X X')^2 X from X / |X|_F, which drives every singular value towards one.

    Use it as `Nuclear(polar=NewtonSchulz())`. The products are computed in the type of X (the method is designed for
    bfloat16).

    Attributes:
        steps: number of iterations.
        coefficients: a, b, c. The default has the largest slope at zero and does not converge: singular values end in
            about [0.68, 1.13], very small ones below that. (15/8, -5/4, 3/8) converges to one, more slowly.

    Raises:
        ValueError: fewer than one step.

    Paper: K. Jordan and others, Muon, 2024 (the coefficients).
    """

    steps: int = 5
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)

    def __post_init__(self) -> None:
        check_number("NewtonSchulz", "steps", self.steps, least=1)

    def __call__(self, x: Float[Array, "*n rows columns"]) -> Float[Array, "*n rows columns"]:
        """An approximation of the polar factor U V' of each matrix, in the type of x."""
        tall = x.shape[-2] > x.shape[-1]
        x = jnp.swapaxes(x, -1, -2) if tall else x
        x = Group(axis=(-2, -1)).map(x)
        a, b, c = self.coefficients
        for _ in range(self.steps):
            square = x @ jnp.swapaxes(x, -1, -2)
            x = a * x + (b * square + c * square @ square) @ x
        return jnp.swapaxes(x, -1, -2) if tall else x
