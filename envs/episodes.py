"""Episodes of other libraries' environments: step limit, automatic reset, and arrays without weak types."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt.tree import canonical
from lopt.types import TimeStep


class EpisodeState(struct.PyTreeNode):
    """The state of another library's environment, and the steps done in the episode."""

    inner: Any
    time: Int[Array, "*n"]


def start_episode(obs: Float[Array, "..."], inner: Any) -> tuple[Float[Array, "..."], EpisodeState]:
    """`(obs, state)` at the first step of an episode."""
    return obs, EpisodeState(inner=canonical(inner), time=jnp.zeros((), jnp.int32))


def auto_reset(
    time: Int[Array, ""],
    reached: tuple[Float[Array, "..."], Any],
    fresh: tuple[Float[Array, "..."], Any],
    reward: Float[Array, ""],
    terminated: Bool[Array, ""],
    max_steps: Int[Array, ""],
) -> tuple[TimeStep, EpisodeState]:
    """The step to `reached`, an `(obs, state)` pair, followed by the reset to `fresh` if it ended the episode.

    An episode is terminated, or else truncated once `max_steps` steps are done, never both. `time` is the
    number of steps done before this one.
    """
    obs, inner = reached
    time = time + 1
    truncated = (time >= max_steps) & ~terminated
    after = EpisodeState(inner=canonical(inner), time=time)
    (fresh_obs, start), ended = start_episode(*fresh), terminated | truncated
    # select, not where: a state that changes its type between reset and step is an error, not a conversion
    next_obs, next_state = jax.tree.map(lambda a, b: jax.lax.select(ended, a, b), (fresh_obs, start), (obs, after))
    timestep = TimeStep(
        obs=next_obs, reward=reward, discount=1 - terminated.astype(jnp.float32), truncated=truncated, final_obs=obs
    )
    return timestep, next_state
