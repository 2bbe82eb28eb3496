"""What both adapters share: a gymnax environment built once, played without its own auto-reset, its arrays mended."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.episodes import EpisodeState, begin, proceed, strong
from lopt.types import Key, TimeStep

Options = tuple[tuple[str, Any], ...]
"""Keyword arguments of a factory, as pairs, so that they can be hashed."""


@dataclass(frozen=True, eq=False)
class Game:
    """A gymnax environment and what is fixed about it.

    Attributes:
        env: the gymnax environment.
        params: its default parameters, as arrays.
        num_actions: A, 0 where actions are vectors.
        action_shape: `()` where actions are numbers.
        num_values: how many values an observation that is a number can take; 0 for observations that are arrays.
        obs_shape: of what `reset` and `step` return: `[features]`, or `[height, width, channels]`.
    """

    env: Any
    params: Any
    num_actions: int
    action_shape: tuple[int, ...]
    num_values: int
    obs_shape: tuple[int, ...]

    def level_params(self, max_steps: int) -> Any:
        """The default parameters as data, with the time limit `max_steps`."""
        return self.params.replace(max_steps_in_episode=jnp.asarray(max_steps, jnp.int32))

    def reset(self, key: Key, params: Any) -> tuple[Float[Array, "..."], EpisodeState]:
        """A fresh episode."""
        with jax.numpy_rank_promotion("allow"):
            obs, inner = self.env.reset_env(key, params)
        return begin(self._mend(obs), inner)

    def step(
        self, key: Key, state: EpisodeState, action: Array, params: Any, max_steps: int
    ) -> tuple[TimeStep, EpisodeState]:
        """One step, with the random numbers that gymnax's own `step` would use, and the reset at the episode's end."""
        key_step, key_reset = jax.random.split(key)
        with jax.numpy_rank_promotion("allow"):
            obs, inner, reward, terminated, _ = self.env.step_env(key_step, state.inner, action, params)
            start_obs, start = self.env.reset_env(key_reset, params)
        return proceed(
            state.time,
            reached=(self._mend(obs), inner),
            fresh=(self._mend(start_obs), start),
            reward=jax.lax.convert_element_type(reward, jnp.float32),
            terminated=jax.lax.convert_element_type(terminated, bool),
            max_steps=jnp.minimum(params.max_steps_in_episode, max_steps),
        )

    def _mend(self, obs: Array) -> Float[Array, "..."]:
        """The observation as float32: a number as one-hot, a matrix as a plane with one channel."""
        if self.num_values:
            return jax.nn.one_hot(obs, self.num_values, dtype=jnp.float32)
        return jax.lax.convert_element_type(obs, jnp.float32).reshape(self.obs_shape)


@functools.cache
def build(factory: Callable[..., Any], options: Options) -> Game:
    """The one `Game` of a factory and its options; its arrays are concrete even if it is first asked for in a trace.

    Raises:
        ValueError: observations that are neither numbers nor arrays of one to three axes.
    """
    from gymnax.environments import spaces

    with jax.ensure_compile_time_eval(), jax.numpy_rank_promotion("allow"):
        env = factory(**dict(options))
        params = strong(env.default_params)
        actions, values = env.action_space(params), env.observation_space(params)
    numbers = isinstance(values, spaces.Discrete)
    if not numbers and not (isinstance(values, spaces.Box) and 1 <= len(values.shape) <= 3):
        raise ValueError(f"gymnax: {env.name} must observe a number or an array of 1 to 3 axes (got {values})")
    return Game(
        env=env,
        params=params,
        num_actions=actions.n if isinstance(actions, spaces.Discrete) else 0,
        action_shape=tuple(actions.shape),
        num_values=values.n if numbers else 0,
        obs_shape=(values.n,) if numbers else _obs_shape(tuple(values.shape)),
    )


def _obs_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if shape == (1, 1):
        return (1,)
    return (*shape, 1) if len(shape) == 2 else shape
