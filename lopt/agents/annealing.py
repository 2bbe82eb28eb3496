"""How large an agent's steps are, from birth to the end of its life."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Progress


def no_annealing(progress: Progress) -> Float[Array, ""]:
    """One, all life long."""
    return jnp.ones(())


def linear_annealing(progress: Progress) -> Float[Array, ""]:
    """1 - n / N: from one at birth to zero at the end of the life; constant within an update."""
    return 1.0 - progress.fraction
