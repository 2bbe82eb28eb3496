"""Curricula that ignore scores: levels from a distribution, or from a fixed set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import tree
from lopt.types import NEW, Assignment, Key, Level, Metrics, check_lifetimes


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


class FrozenState(struct.PyTreeNode):
    """The levels of the set, leaves `[L, ...]`; they are in the state so that they are no constants of a compiled
    step."""

    levels: Level


@dataclass(frozen=True, eq=False)
class FrozenSet:
    """Samples levels uniformly and with replacement from a fixed set of L levels; scores are ignored.

    Attributes:
        levels: the set, leaves `[L, ...]`. `init` reads them and puts them into the state. Two `FrozenSet`s are equal
            only if they are the same object (arrays do not hash).

    Raises:
        ValueError: the leaves do not share a leading axis of one level or more; a lifetime below one.

    Paper: the handcrafted sets of LPG (arXiv 2007.08794) and the "number of levels" study of arXiv
    2310.02782.
    """

    levels: Level

    def __post_init__(self) -> None:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(self.levels)]
        if not shapes or any(len(s) == 0 or s[0] == 0 or s[0] != shapes[0][0] for s in shapes):
            raise ValueError(
                "FrozenSet: the levels' leaves must share a leading axis "
                f"(got shapes {shapes}, expected [L, ...] with L >= 1)"
            )
        check_lifetimes(self.levels)

    def init(self, key: Key, num_lifetimes: int) -> tuple[FrozenState, Assignment]:
        """The state with the set, and a level sampled from it for every lifetime."""
        state = FrozenState(levels=jax.tree.map(jnp.asarray, self.levels))
        slot = jnp.full((num_lifetimes,), NEW, jnp.int32)
        return state, Assignment(levels=_sample(key, state, num_lifetimes), slot=slot)

    def exchange(
        self,
        key: Key,
        state: FrozenState,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[FrozenState, Assignment]:
        """The unchanged state and an assignment with a newly sampled level for each finished lifetime."""
        levels = tree.where(finished, _sample(key, state, finished.shape[0]), assignment.levels)
        return state, Assignment(levels=levels, slot=jnp.where(finished, NEW, assignment.slot))

    def metrics(self, state: FrozenState) -> Metrics:
        """No metrics."""
        return {}


def _sample(key: Key, state: FrozenState, num: int) -> Level:
    size = jax.tree.leaves(state.levels)[0].shape[0]
    return tree.take(state.levels, jax.random.randint(key, (num,), 0, size))
