"""The K updates of one meta-step, of which the last may lie past the end of the life."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lopt.types import Level


def alive(level: Level, updates: Int[Array, ""], num: int) -> Bool[Array, " K"]:
    """Which of the next `num` updates after `updates` are within the level's lifetime."""
    return updates + jnp.arange(num) < level.lifetime


def window_mean(
    level: Level, updates: Int[Array, ""], values: Float[Array, " K"], otherwise: Float[Array, ""]
) -> Float[Array, ""]:
    """Mean of the `values` within the lifetime, `otherwise` if there are none."""
    live = alive(level, updates, values.shape[0])
    mean = jnp.where(live, values, 0.0).sum() / jnp.maximum(live.sum(), 1)
    return jnp.where(live.any(), mean.astype(jnp.float32), otherwise)
