"""Windows of K updates, one per meta-step, the last of which may extend beyond the end of the lifetime."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lopt.types import Level


def within_lifetime(level: Level, updates: Int[Array, ""], num: int) -> Bool[Array, " K"]:
    """Which of the `num` updates that follow the first `updates` are within the level's lifetime."""
    return level.active(updates + jnp.arange(num))


def window_mean(
    level: Level, updates: Int[Array, ""], values: Float[Array, " K"], default: Float[Array, ""]
) -> Float[Array, ""]:
    """Mean of the `values` of the updates within the lifetime; `default` if there are none."""
    mask = within_lifetime(level, updates, values.shape[0])
    mean = jnp.where(mask, values, 0.0).sum() / jnp.maximum(mask.sum(), 1)
    return jnp.where(mask.any(), mean.astype(jnp.float32), default)
