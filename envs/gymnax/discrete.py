"""gymnax environments with discrete actions as `lopt.protocols.Environment`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.draws import uniforms
from envs.episodes import EpisodeState
from envs.gymnax.adapter import Adapter, Options, build
from envs.int_distributions import Fixed, IntDistribution
from lopt.types import Key, Level, TimeStep


@dataclass(frozen=True, kw_only=True)
class Gymnax:
    """A gymnax environment with A discrete actions; also the distribution that gives its default level.

    A level's `params` are gymnax's own `EnvParams` as arrays: gravity, a goal or the time limit may differ between
    the environments of a batch. An episode is truncated after `params.max_steps_in_episode` steps, but never
    later than `max_steps`.

    Example:
        env = gymnax_env("CartPole-v1")
        level = env(key)
        heavy = jax.vmap(lambda g: level.params.replace(gravity=g))(jnp.linspace(5.0, 15.0, 8))

    Attributes:
        factory: a hashable callable that returns the gymnax environment, for instance its class.
        max_steps: the step limit of an episode, and the default of the levels.
        options: keyword arguments of the factory as pairs.
        num_updates: distribution of the lifetime's length, in inner updates.

    Raises:
        ValueError: continuous actions, observations that are not arrays, or a limit below 1.

    Differs: gymnax reports truncation and termination in the same step where both apply (DeepSea always does); here it
        is a termination only. Rewards and observations are float32: a discrete observation becomes a one-hot vector,
        a matrix `[rows, columns, 1]`. DeepSea's counters, which are not observed, are reset with the episode.
    """

    factory: Callable[..., Any]
    max_steps: int
    options: Options = ()
    num_updates: IntDistribution = Fixed(1000)

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"Gymnax: max_steps must be >= 1 (got {self.max_steps})")
        if not self._adapter.num_actions:
            raise ValueError(f"Gymnax: {self._adapter.env.name} has continuous actions; use ContinuousGymnax")

    @property
    def num_actions(self) -> int:
        """A, the number of discrete actions."""
        return self._adapter.num_actions

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """`[features]`, or `[height, width, channels]`."""
        return self._adapter.obs_shape

    @property
    def default_params(self) -> Any:
        """gymnax's default parameters as arrays, with the time limit `max_steps`."""
        return self._adapter.level_params(self.max_steps)

    @property
    def environment(self) -> "Gymnax":
        """The environment itself; it is also the distribution that returns its default level."""
        return self

    def __call__(self, key: Key) -> Level:
        """The default level, with a random length of its lifetime."""
        (u,) = uniforms(key, 1)
        return Level(params=self.default_params, num_updates=self.num_updates(u))

    def reset(self, key: Key, params: Any) -> tuple[Float[Array, "..."], EpisodeState]:
        """Start an episode: `(obs, state)`."""
        return self._adapter.reset(key, params)

    def step(self, key: Key, state: EpisodeState, action: Int[Array, ""], params: Any) -> tuple[TimeStep, EpisodeState]:
        """Take one step, and reset if it ends the episode: `(timestep, state)`."""
        action = jax.lax.convert_element_type(action, jnp.int32)
        return self._adapter.step(key, state, action, params, self.max_steps)

    @property
    def _adapter(self) -> Adapter:
        return build(self.factory, self.options)
