"""Annealing of the learning rate over a lifetime: factors of the optimizer's updates."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Progress


def no_annealing(progress: Progress) -> Float[Array, ""]:
    """The constant factor 1."""
    return jnp.ones(())


def linear_annealing(progress: Progress) -> Float[Array, ""]:
    """The factor 1 - n / N, from 1 in the first update to 1 / N in the last; constant within an update."""
    return 1.0 - progress.fraction
