"""gymnax environments with continuous actions as `lopt.protocols.ContinuousEnvironment`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.draws import uniforms
from envs.episodes import EpisodeState
from envs.gymnax.adapter import Adapter, Options, build
from envs.int_distributions import Fixed, IntDistribution
from lopt.types import Key, Level, TimeStep


@dataclass(frozen=True, kw_only=True)
class ContinuousGymnax:
    """A gymnax environment with continuous actions; see `Gymnax` for what both have in common.

    An action a in [-1, 1]^D, clipped to it, becomes low + (a + 1) (high - low) / 2, with the bounds of the
    environment's action space, which a level's parameters may set (a pendulum's `max_torque`).

    Attributes:
        factory: a hashable callable that returns the gymnax environment, for instance its class.
        max_steps: the step limit of an episode, and the default of the levels.
        options: keyword arguments of the factory as pairs.
        num_updates: distribution of the lifetime's length, in inner updates.

    Raises:
        ValueError: discrete actions, observations that are not arrays, or a limit below 1.

    Differs: gymnax takes actions in the environment's units, and some environments use, or penalise, actions outside
        the action space.
    """

    factory: Callable[..., Any]
    max_steps: int
    options: Options = ()
    num_updates: IntDistribution = Fixed(1000)

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"ContinuousGymnax: max_steps must be >= 1 (got {self.max_steps})")
        if self._adapter.num_actions:
            raise ValueError(f"ContinuousGymnax: {self._adapter.env.name} has discrete actions; use Gymnax")

    @property
    def action_size(self) -> int:
        """D, the number of components of an action."""
        return math.prod(self._adapter.action_shape)

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """`[features]`, or `[height, width, channels]`."""
        return self._adapter.obs_shape

    @property
    def default_params(self) -> Any:
        """gymnax's default parameters as arrays, with the time limit `max_steps`."""
        return self._adapter.level_params(self.max_steps)

    @property
    def environment(self) -> "ContinuousGymnax":
        """The environment itself; it is also the distribution that returns its default level."""
        return self

    def __call__(self, key: Key) -> Level:
        """The default level, with a random length of its lifetime."""
        (u,) = uniforms(key, 1)
        return Level(params=self.default_params, num_updates=self.num_updates(u))

    def reset(self, key: Key, params: Any) -> tuple[Float[Array, "..."], EpisodeState]:
        """Start an episode: `(obs, state)`."""
        return self._adapter.reset(key, params)

    def step(
        self, key: Key, state: EpisodeState, action: Float[Array, " D"], params: Any
    ) -> tuple[TimeStep, EpisodeState]:
        """Take one step, and reset if it ends the episode: `(timestep, state)`."""
        with jax.numpy_rank_promotion("allow"):
            space = self._adapter.env.action_space(params)
            fraction = (jnp.clip(action.astype(jnp.float32), -1, 1).reshape(space.shape) + 1) / 2
            scaled = jnp.asarray(space.low + fraction * (space.high - space.low), jnp.float32)
        return self._adapter.step(key, state, scaled, params, self.max_steps)

    @property
    def _adapter(self) -> Adapter:
        return build(self.factory, self.options)
