"""Domain randomisation: a newly sampled level for every lifetime."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lopt import tree
from lopt.types import NEW, Assignment, Key, Level, Metrics


@dataclass(frozen=True)
class DomainRandomisation:
    """Domain randomisation: every lifetime is trained on a new sample of `generator`; scores are ignored.

    Attributes:
        generator: samples one level from a key; the curriculum vmaps it over the lifetimes that need a level.

    Raises:
        ValueError: the generator cannot be called.

    Paper: arXiv 1703.06907; the curriculum of LPG (arXiv 2007.08794) and the baseline of arXiv 2310.02782.
    """

    generator: Callable[[Key], Level]

    def __post_init__(self) -> None:
        if not callable(self.generator):
            raise ValueError(
                f"DomainRandomisation: generator must be callable (got {self.generator!r}, expected key -> level)"
            )

    def init(self, key: Key, num_lifetimes: int) -> tuple[Any, Assignment]:
        """The empty state `()` and a sampled level for every lifetime."""
        levels = jax.vmap(self.generator)(jax.random.split(key, num_lifetimes))
        return (), Assignment(levels=levels, slot=jnp.full((num_lifetimes,), NEW, jnp.int32))

    def exchange(
        self,
        key: Key,
        state: Any,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[Any, Assignment]:
        """The unchanged state and an assignment with a newly sampled level for each finished lifetime."""
        keys = jax.random.split(key, finished.shape[0])
        levels = tree.masked_map(self.generator, finished, assignment.levels, keys)
        return state, Assignment(levels=levels, slot=jnp.where(finished, NEW, assignment.slot))

    def metrics(self, state: Any) -> Metrics:
        """No metrics."""
        return {}
