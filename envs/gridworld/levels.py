"""GROOVE's procedural grid worlds: random size, walls, objects, time limit and lifetime.

`small`, `medium`, `large`, `debug` and `rand_all` return `All` with other fields; their keyword arguments override.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.gridworld.grid import GridWorld
from envs.gridworld.level import make_level, scatter_objects
from envs.gridworld.moves import FOUR_MOVES, Moves
from envs.gridworld.placement import FixedPlacement, RandomPlacement
from envs.gridworld.views import PlaneView, TabularView
from envs.int_distributions import Fixed, IntDistribution, LogUniform, Uniform, log_uniform
from lopt.types import Key, Level


@dataclass(frozen=True, kw_only=True)
class All:
    """GROOVE's level distribution "all"; called with a key, it draws a level.

    Square grids of side g; `num_walls` distinct indices in [0, wall_range^2) are walls where they lie in the level,
    index i being the cell (i // g, i % g), which makes about num_walls (g / wall_range)^2 walls; the start and the
    objects on distinct free cells; the first object's reward U(0, 1), the others' U(-1, 1).

    Example:
        dist = All(num_updates=LogUniform(10, 250))
        levels = jax.vmap(dist)(jax.random.split(key, 64))
        dist.environment.num_states

    Attributes:
        sizes: smallest and largest side g, uniform.
        objects: smallest and largest number of objects, uniform.
        num_walls: number of wall indices drawn.
        wall_range: square root of the number of indices they are drawn from.
        max_steps: distribution of the time limit of an episode, in steps.
        num_updates: distribution of the length of a lifetime, in updates. `Fixed(250)` is groove's all_shortlife, its
            default; `Fixed(1000)` is all, `LogUniform(50, 250)` all_randlife, `LogUniform(10, 250)` all_vrandlife.
        p_terminate: bounds of the log-uniform termination probability of an object.
        p_respawn: bounds of its log-uniform respawn probability.
        moves: the action set.
        placement: of the objects: `FixedPlacement()`, or `RandomPlacement()` at every reset and respawn.
        view: the observation, `TabularView()` or `PlaneView()`.

    Raises:
        ValueError: empty ranges, walls that can fill the smallest level, or probabilities outside (0, 1].

    Paper: arXiv 2310.02782, appendix C; arXiv 2402.05828 (random lifetimes).
    Differs: where the walls leave fewer free cells than the start and the objects need, the level has fewer objects
        (EmptyJackson/groove puts them on walls).
    """

    sizes: tuple[int, int] = (4, 10)
    objects: tuple[int, int] = (1, 5)
    num_walls: int = 15
    wall_range: int = 10
    max_steps: IntDistribution = LogUniform(20, 750)
    num_updates: IntDistribution = Fixed(250)
    p_terminate: tuple[float, float] = (0.01, 1.0)
    p_respawn: tuple[float, float] = (0.001, 0.1)
    moves: Moves = FOUR_MOVES
    placement: FixedPlacement | RandomPlacement = FixedPlacement()
    view: TabularView | PlaneView = TabularView()

    def __post_init__(self) -> None:
        for name, (low, high) in {"sizes": self.sizes, "objects": self.objects}.items():
            if not 1 <= low <= high:
                raise ValueError(f"All: {name} must be (low, high) with 1 <= low <= high (got {low}, {high})")
        if not 0 <= self.num_walls < self.sizes[0] ** 2:
            raise ValueError(
                f"All: num_walls must leave a free cell in the smallest level, 0 <= num_walls < {self.sizes[0] ** 2} "
                f"(got {self.num_walls})"
            )
        if self.wall_range**2 < self.num_walls:
            raise ValueError(f"All: wall_range^2 must be >= num_walls (got {self.wall_range}, {self.num_walls})")
        for name, (least, most) in {"p_terminate": self.p_terminate, "p_respawn": self.p_respawn}.items():
            if not 0 < least <= most <= 1:
                raise ValueError(f"All: {name} must be (low, high) with 0 < low <= high <= 1 (got {least}, {most})")

    @property
    def environment(self) -> GridWorld:
        """The grid world that takes these levels as parameters."""
        side = self.sizes[1]
        return GridWorld(
            height=side,
            width=side,
            num_objects=self.objects[1],
            moves=self.moves,
            placement=self.placement,
            view=self.view,
        )

    def __call__(self, key: Key) -> Level:
        """Draw a level, with the length of its lifetime."""
        num = self.objects[1]
        parts = (self.wall_range**2, self.sizes[1] ** 2, num, num, num, 4)
        u = jax.random.uniform(key, (sum(parts),))
        walls, cells, reward, terminate, respawn, rest = jnp.split(u, np.cumsum(parts)[:-1])
        free = self._free(walls, Uniform(*self.sizes)(rest[0]))
        start, object_cell, present = scatter_objects(cells, free, num, Uniform(*self.objects)(rest[1]))
        reward = 2 * reward - 1
        params = make_level(
            free=free,
            start=start,
            object_cell=object_cell,
            present=present,
            reward=reward.at[0].set(jnp.abs(reward[0])),
            p_terminate=log_uniform(terminate, *self.p_terminate),
            p_respawn=log_uniform(respawn, *self.p_respawn),
            max_steps=self.max_steps(rest[2]),
        )
        return Level(params=params, num_updates=self.num_updates(rest[3]))

    def _free(self, u: Float[Array, " R"], size: Int[Array, ""]) -> Bool[Array, " C"]:
        """The free cells of a level of side `size`; the `num_walls` indices with the largest u are walls."""
        wall = jnp.zeros(u.shape, bool).at[jax.lax.top_k(u, self.num_walls)[1]].set(True)
        side = self.sizes[1]
        row, column = jnp.divmod(jnp.arange(side**2, dtype=jnp.int32), side)
        is_wall = wall.at[row * size + column].get(mode="fill", fill_value=False)
        return (row < size) & (column < size) & ~is_wall


def small(**changes: Any) -> All:
    """GROOVE's "small": sides 4-6, at most 3 objects, 7 walls of 6 x 6, 20-100 steps, lifetime 250."""
    sizes = {"sizes": (4, 6), "objects": (1, 3), "num_walls": 7, "wall_range": 6}
    return All(**{**sizes, "max_steps": LogUniform(20, 100), "num_updates": Fixed(250), **changes})


def medium(**changes: Any) -> All:
    """GROOVE's "medium": sides 6-8, 2-4 objects, 10 walls of 8 x 8, 100-250 steps, lifetime 1000."""
    sizes = {"sizes": (6, 8), "objects": (2, 4), "num_walls": 10, "wall_range": 8}
    return All(**{**sizes, "max_steps": LogUniform(100, 250), "num_updates": Fixed(1000), **changes})


def large(**changes: Any) -> All:
    """GROOVE's "large": sides 8-10, 2-5 objects, 15 walls of 10 x 10, 250-750 steps, lifetime 2500."""
    sizes = {"sizes": (8, 10), "objects": (2, 5), "num_walls": 15, "wall_range": 10}
    return All(**{**sizes, "max_steps": LogUniform(250, 750), "num_updates": Fixed(2500), **changes})


def debug(**changes: Any) -> All:
    """GROOVE's "debug": sides 3-4, 1-2 objects, 4 walls of 4 x 4, 5-10 steps, lifetime 4."""
    sizes = {"sizes": (3, 4), "objects": (1, 2), "num_walls": 4, "wall_range": 4}
    return All(**{**sizes, "max_steps": LogUniform(5, 10), "num_updates": Fixed(4), **changes})


def rand_all(**changes: Any) -> All:
    """GROOVE's "rand_all": `All` with random placement and plane observations, lifetime 25,000."""
    return All(**{"placement": RandomPlacement(), "view": PlaneView(), "num_updates": Fixed(25_000), **changes})
