"""Distributions of levels: functions of a key that return a `Level`, and that know their environment."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from envs.draws import uniforms
from lopt.protocols import Environment
from lopt.types import Key, Level


class Distribution(Protocol):
    """What `Finite`, `Mixture` and the environments' own distributions are: called with a key, it draws a level."""

    @property
    def environment(self) -> Environment:
        """The environment the levels are played in."""
        ...

    def __call__(self, key: Key) -> Level:
        """One level."""
        ...


@dataclass(frozen=True, eq=False)
class Finite:
    """The uniform distribution on a fixed list of levels.

    Example:
        evaluation = Finite(dist.environment, jax.vmap(dist)(jax.random.split(key, 64)))

    Attributes:
        environment: the environment they are played in.
        levels: the levels, stacked along a leading axis.

    Raises:
        ValueError: no levels, or levels that are not stacked alike.
    """

    environment: Any
    levels: Level

    def __post_init__(self) -> None:
        leading = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(self.levels)}
        if len(leading) != 1 or leading in ({()}, {(0,)}):
            raise ValueError(f"Finite: levels must share one leading axis of at least one level (got {leading})")

    @property
    def num_levels(self) -> int:
        """How many levels there are."""
        return jax.tree.leaves(self.levels)[0].shape[0]

    def __call__(self, key: Key) -> Level:
        """One of the levels."""
        (u,) = uniforms(key, 1)
        i = jnp.minimum((u * self.num_levels).astype(jnp.int32), self.num_levels - 1)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[i], self.levels)


@dataclass(frozen=True)
class Mixture:
    """One of several distributions of the same environment, drawn by weight for every level.

    Attributes:
        parts: the distributions.
        weights: how often each is drawn, in any unit; `()` for equally often.

    Raises:
        ValueError: no parts, parts of different environments, or weights that do not match or are not positive.
    """

    parts: tuple[Any, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("Mixture: parts must not be empty")
        different = [part.environment for part in self.parts if part.environment != self.environment]
        if different:
            raise ValueError(
                f"Mixture: all parts need one environment (got {self.environment} and {different[0]}); "
                "pad grid worlds to a common size with `Padded`"
            )
        if self.weights and len(self.weights) != len(self.parts):
            raise ValueError(f"Mixture: need {len(self.parts)} weights (got {len(self.weights)})")
        if not all(weight > 0 for weight in self.weights):
            raise ValueError(f"Mixture: weights must be > 0 (got {self.weights})")

    @property
    def environment(self) -> Any:
        """The environment all parts share."""
        return self.parts[0].environment

    def __call__(self, key: Key) -> Level:
        """One level of one part."""
        key_part, key_level = jax.random.split(key)
        bounds = np.cumsum(self.weights or (1.0,) * len(self.parts))
        (u,) = uniforms(key_part, 1)
        part = jnp.sum(u >= jnp.asarray(bounds[:-1] / bounds[-1], jnp.float32), dtype=jnp.int32)
        return jax.lax.switch(part, self.parts, key_level)
