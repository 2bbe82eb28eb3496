"""Episodes of environments from other libraries: their limit, their end and the reset, and the arrays mended."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt.types import TimeStep


class EpisodeState(struct.PyTreeNode):
    """Another library's state, and the steps done in the episode."""

    inner: Any
    time: Int[Array, "*n"]


def begin(obs: Float[Array, "..."], inner: Any) -> tuple[Float[Array, "..."], EpisodeState]:
    """`(obs, state)` of a fresh episode."""
    return obs, EpisodeState(inner=strong(inner), time=jnp.zeros((), jnp.int32))


def proceed(
    time: Int[Array, ""],
    reached: tuple[Float[Array, "..."], Any],
    fresh: tuple[Float[Array, "..."], Any],
    reward: Float[Array, ""],
    terminated: Bool[Array, ""],
    max_steps: Int[Array, ""],
) -> tuple[TimeStep, EpisodeState]:
    """The step that led to `reached`, an `(obs, state)`, and where it ended the episode the reset to `fresh`.

    An episode ends by termination, else by truncation once `max_steps` steps are done: never by both. `time` is the
    number of steps done before this one.
    """
    obs, inner = reached
    time = time + 1
    truncated = (time >= max_steps) & ~terminated
    after = EpisodeState(inner=strong(inner), time=time)
    (fresh_obs, start), ended = begin(*fresh), terminated | truncated
    # select, not where: a state that changes its type between reset and step is an error, not a conversion
    now, new = jax.tree.map(lambda a, b: jax.lax.select(ended, a, b), (fresh_obs, start), (obs, after))
    timestep = TimeStep(
        obs=now, reward=reward, discount=1 - terminated.astype(jnp.float32), truncated=truncated, final_obs=obs
    )
    return timestep, new


def strong(tree: Any) -> Any:
    """The same values in a new tree, as arrays that are not weakly typed: so a carried state compiles once."""

    def mend(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if keys else jax.lax.convert_element_type(leaf, leaf.dtype)

    return jax.tree.map(mend, tree)
