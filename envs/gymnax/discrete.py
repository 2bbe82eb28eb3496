"""gymnax environments with discrete actions behind our contract."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.draws import uniforms
from envs.episodes import EpisodeState
from envs.gymnax.game import Game, Options, build
from envs.laws import Fixed, Law
from lopt.types import Key, Level, TimeStep


@dataclass(frozen=True)
class Gymnax:
    """A gymnax environment with A discrete actions; also the distribution that gives its default level.

    A level's `params` are gymnax's own `EnvParams` as arrays: gravity, a goal, the time limit can differ from one
    environment of a batch to the next. An episode is truncated after `params.max_steps_in_episode` steps, but never
    later than `max_steps`.

    Example:
        env = gymnax_env("CartPole-v1")
        level = env(key)
        heavy = jax.vmap(lambda g: level.params.replace(gravity=g))(jnp.linspace(5.0, 15.0, 8))

    Attributes:
        factory: makes the gymnax environment: its class, or anything hashable that can be called.
        max_steps: the step limit, and that of the levels.
        options: keyword arguments of the factory, as pairs.
        lifetime: law of the number of inner updates.

    Raises:
        ValueError: continuous actions, observations that are not arrays, or a limit below 1.

    Differs: gymnax truncates and terminates in the same step where both apply (DeepSea always does); here that is a
        termination only. Rewards and observations are float32 whatever they were: a number becomes a one-hot vector,
        a matrix a plane `[rows, columns, 1]`. DeepSea's counters, which nothing observes, start over with the episode.
    """

    factory: Callable[..., Any]
    max_steps: int
    options: Options = ()
    lifetime: Law = Fixed(1000)

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"Gymnax: max_steps must be >= 1 (got {self.max_steps})")
        if not self._game.num_actions:
            raise ValueError(f"Gymnax: {self._game.env.name} has continuous actions; use ContinuousGymnax")

    @property
    def num_actions(self) -> int:
        """A: the number of actions."""
        return self._game.num_actions

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """`[features]`, or `[height, width, channels]`."""
        return self._game.obs_shape

    @property
    def default_params(self) -> Any:
        """gymnax's default parameters as arrays, with the time limit `max_steps`."""
        return self._game.level_params(self.max_steps)

    @property
    def environment(self) -> "Gymnax":
        """The environment itself, which is also a distribution of levels."""
        return self

    def __call__(self, key: Key) -> Level:
        """The default level."""
        (u,) = uniforms(key, 1)
        return Level(params=self.default_params, lifetime=self.lifetime(u))

    def reset(self, key: Key, params: Any) -> tuple[Float[Array, "..."], EpisodeState]:
        """A fresh episode."""
        return self._game.reset(key, params)

    def step(self, key: Key, state: EpisodeState, action: Int[Array, ""], params: Any) -> tuple[TimeStep, EpisodeState]:
        """One step, and the reset when it ends the episode."""
        action = jax.lax.convert_element_type(action, jnp.int32)
        return self._game.step(key, state, action, params, self.max_steps)

    @property
    def _game(self) -> Game:
        return build(self.factory, self.options)
