"""Distributions of levels: functions from a key to a `Level`, with the environment of these levels."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from envs.draws import uniforms
from lopt.protocols import Environment
from lopt.types import Key, Level


class Distribution(Protocol):
    """A distribution of levels of one environment, as `Mixture`, `All`, `ChainSet`: called with a key, it draws one."""

    @property
    def environment(self) -> Environment:
        """The environment that takes these levels as parameters."""
        ...

    def __call__(self, key: Key) -> Level:
        """Draw a level."""
        ...


@dataclass(frozen=True)
class Mixture:
    """A mixture of distributions of levels of one environment.

    Attributes:
        parts: the distributions.
        weights: the probability of each up to a common factor; `()` for equal ones.

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
        """The environment of all parts."""
        return self.parts[0].environment

    def __call__(self, key: Key) -> Level:
        """Draw a part by its weight, and a level of it."""
        key_part, key_level = jax.random.split(key)
        bounds = np.cumsum(self.weights or (1.0,) * len(self.parts))
        (u,) = uniforms(key_part, 1)
        part = jnp.sum(u >= jnp.asarray(bounds[:-1] / bounds[-1], jnp.float32), dtype=jnp.int32)
        return jax.lax.switch(part, self.parts, key_level)
