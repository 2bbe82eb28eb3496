"""The common part of `Gymnax` and `ContinuousGymnax`: a gymnax environment, stepped without its own auto-reset."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.episodes import EpisodeState, auto_reset, start_episode
from lopt.tree import canonical
from lopt.types import Key, TimeStep

Options = tuple[tuple[str, Any], ...]
"""Keyword arguments of a factory as hashable pairs `(name, value)`."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A gymnax environment with its static properties, and observations as float32 arrays.

    Attributes:
        env: the gymnax environment.
        params: its default parameters, as arrays.
        num_actions: A; 0 for continuous actions.
        action_shape: `()` for discrete actions.
        num_values: number of values of a discrete observation; 0 for observations that are arrays.
        obs_shape: of the observations that `reset` and `step` return: `[features]`, or `[height, width, channels]`.
    """

    env: Any
    params: Any
    num_actions: int
    action_shape: tuple[int, ...]
    num_values: int
    obs_shape: tuple[int, ...]

    def level_params(self, max_steps: int) -> Any:
        """The default parameters as arrays, with the time limit `max_steps`."""
        return self.params.replace(max_steps_in_episode=jnp.asarray(max_steps, jnp.int32))

    def reset(self, key: Key, params: Any) -> tuple[Float[Array, "..."], EpisodeState]:
        """Start an episode: `(obs, state)`."""
        with jax.numpy_rank_promotion("allow"):
            obs, inner = self.env.reset_env(key, params)
        return start_episode(self._as_float32(obs), inner)

    def step(
        self, key: Key, state: EpisodeState, action: Array, params: Any, max_steps: int
    ) -> tuple[TimeStep, EpisodeState]:
        """Take one step with the random numbers of gymnax's own `step`, and reset if it ends the episode."""
        key_step, key_reset = jax.random.split(key)
        with jax.numpy_rank_promotion("allow"):
            obs, inner, reward, terminated, _ = self.env.step_env(key_step, state.inner, action, params)
            start_obs, start = self.env.reset_env(key_reset, params)
        return auto_reset(
            state.time,
            reached=(self._as_float32(obs), inner),
            fresh=(self._as_float32(start_obs), start),
            reward=jax.lax.convert_element_type(reward, jnp.float32),
            terminated=jax.lax.convert_element_type(terminated, bool),
            max_steps=jnp.minimum(params.max_steps_in_episode, max_steps),
        )

    def _as_float32(self, obs: Array) -> Float[Array, "..."]:
        """The observation as float32: a discrete one as a one-hot vector, a matrix with one channel added."""
        if self.num_values:
            return jax.nn.one_hot(obs, self.num_values, dtype=jnp.float32)
        return jax.lax.convert_element_type(obs, jnp.float32).reshape(self.obs_shape)


@functools.cache
def build(factory: Callable[..., Any], options: Options) -> Adapter:
    """The cached `Adapter` of a factory and its options; its arrays are concrete even if first built in a trace.

    Raises:
        ValueError: observations that are neither discrete nor arrays of one to three axes.
    """
    from gymnax.environments import spaces

    with jax.ensure_compile_time_eval(), jax.numpy_rank_promotion("allow"):
        env = factory(**dict(options))
        params = canonical(env.default_params)
        actions, values = env.action_space(params), env.observation_space(params)
    discrete = isinstance(values, spaces.Discrete)
    if not discrete and not (isinstance(values, spaces.Box) and 1 <= len(values.shape) <= 3):
        raise ValueError(f"gymnax: {env.name} must observe a number or an array of 1 to 3 axes (got {values})")
    return Adapter(
        env=env,
        params=params,
        num_actions=actions.n if isinstance(actions, spaces.Discrete) else 0,
        action_shape=tuple(actions.shape),
        num_values=values.n if discrete else 0,
        obs_shape=(values.n,) if discrete else _obs_shape(tuple(values.shape)),
    )


def _obs_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if shape == (1, 1):
        return (1,)
    return (*shape, 1) if len(shape) == 2 else shape
