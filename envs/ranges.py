"""Levels that differ in some parameters of an environment."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.draws import uniforms
from envs.names import unknown_name
from lopt.types import Key, Level

LIMITS = ("max_steps", "max_steps_in_episode")
"""The parameters that are time limits."""


@dataclass(frozen=True)
class Ranges:
    """The default level of an environment, with some of its parameters drawn independently for every level.

    Example:
        levels = Ranges(gymnax_env("Pendulum-v1"), (("g", 5.0, 15.0), ("l", 0.5, 2.0)))

    Attributes:
        environment: of the levels; it has `default_params`, `lifetime` and `max_steps`.
        ranges: `(name of a parameter, low, high)`: uniform on [low, high), or on low, ..., high for an integer.
            Parameters that are computed from another one do not change: CartPole keeps `total_mass` and
            `polemass_length` beside `masscart`, `masspole` and `length`.

    Raises:
        ValueError: no ranges, an unknown parameter, one that is not a single number, bounds out of order, or a time
            limit above the environment's.
    """

    environment: Any
    ranges: tuple[tuple[str, float, float], ...]

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("Ranges: ranges must not be empty")
        for name, low, high in self.ranges:
            params = vars(self.environment.default_params)
            if name not in params:
                raise unknown_name("parameter", name, params)
            if params[name].ndim or params[name].dtype == bool:
                raise ValueError(
                    f"Ranges: {name} must be a single number (got {params[name].dtype}{list(params[name].shape)})"
                )
            if low > high:
                raise ValueError(f"Ranges: {name} needs low <= high (got {low}, {high})")
            if name in LIMITS and not 1 <= low <= high <= self.environment.max_steps:
                raise ValueError(
                    f"Ranges: {name} must be in 1 ... {self.environment.max_steps}, the environment's limit "
                    f"(got {low}, {high})"
                )

    def __call__(self, key: Key) -> Level:
        """Draw a level, with the length of its lifetime."""
        u_lifetime, *draws = uniforms(key, 1 + len(self.ranges))
        params = self.environment.default_params
        drawn = {
            name: _between(u, low, high, getattr(params, name).dtype)
            for (name, low, high), u in zip(self.ranges, draws, strict=True)
        }
        return Level(params=params.replace(**drawn), num_updates=self.environment.num_updates(u_lifetime))


def _between(u: Float[Array, ""], low: float, high: float, dtype: Any) -> Array:
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.clip(jnp.floor(low + u * (high - low + 1)), low, high).astype(dtype)
    return (low + u * (high - low)).astype(dtype)
