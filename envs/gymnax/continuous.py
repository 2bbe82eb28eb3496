"""gymnax environments with continuous actions behind our contract."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.draws import uniforms
from envs.episodes import EpisodeState
from envs.gymnax.game import Game, Options, build
from envs.laws import Fixed, Law
from lopt.types import Key, Level, TimeStep


@dataclass(frozen=True)
class ContinuousGymnax:
    """A gymnax environment whose actions are vectors; see `Gymnax` for what is the same.

    An action a in [-1, 1]^D, clipped to it, becomes low + (a + 1) (high - low) / 2, with the bounds of the
    environment's action space, which a level's parameters may set (a pendulum's `max_torque`).

    Attributes:
        factory: makes the gymnax environment: its class, or anything hashable that can be called.
        max_steps: the step limit, and that of the levels.
        options: keyword arguments of the factory, as pairs.
        lifetime: law of the number of inner updates.

    Raises:
        ValueError: discrete actions, observations that are not arrays, or a limit below 1.

    Differs: gymnax takes actions in the environment's units, and some environments pay for, or act on, what lies
        outside the action space.
    """

    factory: Callable[..., Any]
    max_steps: int
    options: Options = ()
    lifetime: Law = Fixed(1000)

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"ContinuousGymnax: max_steps must be >= 1 (got {self.max_steps})")
        if self._game.num_actions:
            raise ValueError(f"ContinuousGymnax: {self._game.env.name} has discrete actions; use Gymnax")

    @property
    def action_size(self) -> int:
        """D: how many numbers an action has."""
        return math.prod(self._game.action_shape)

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """`[features]`, or `[height, width, channels]`."""
        return self._game.obs_shape

    @property
    def default_params(self) -> Any:
        """gymnax's default parameters as arrays, with the time limit `max_steps`."""
        return self._game.level_params(self.max_steps)

    @property
    def environment(self) -> "ContinuousGymnax":
        """The environment itself, which is also a distribution of levels."""
        return self

    def __call__(self, key: Key) -> Level:
        """The default level."""
        (u,) = uniforms(key, 1)
        return Level(params=self.default_params, lifetime=self.lifetime(u))

    def reset(self, key: Key, params: Any) -> tuple[Float[Array, "..."], EpisodeState]:
        """A fresh episode."""
        return self._game.reset(key, params)

    def step(
        self, key: Key, state: EpisodeState, action: Float[Array, " D"], params: Any
    ) -> tuple[TimeStep, EpisodeState]:
        """One step, and the reset when it ends the episode."""
        with jax.numpy_rank_promotion("allow"):
            space = self._game.env.action_space(params)
            share = (jnp.clip(action.astype(jnp.float32), -1, 1).reshape(space.shape) + 1) / 2
            scaled = jnp.asarray(space.low + share * (space.high - space.low), jnp.float32)
        return self._game.step(key, state, scaled, params, self.max_steps)

    @property
    def _game(self) -> Game:
        return build(self.factory, self.options)
