"""Mazes with objects: hand-drawn ones for meta-testing, and random ones."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from envs.draws import uniforms
from envs.gridworld.drawings import DRAWINGS
from envs.gridworld.grid import GridWorld
from envs.gridworld.kruskal import KruskalMaze
from envs.gridworld.level import make_level, scatter_objects
from envs.gridworld.maps import parse_map
from envs.gridworld.moves import FOUR_MOVES, Moves
from envs.gridworld.placement import FixedPlacement, RandomPlacement
from envs.gridworld.views import PlaneView, TabularView
from envs.int_distributions import Fixed, IntDistribution, LogUniform, log_uniform
from lopt.types import Key, Level


@dataclass(frozen=True)
class DrawnMaze:
    """A maze drawn uniformly from hand-drawn maps of one size.

    Attributes:
        drawings: the maps (see `parse_map`).

    Raises:
        ValueError: no drawings, drawings that cannot be read, or of different sizes.
    """

    drawings: tuple[tuple[str, ...], ...] = DRAWINGS

    def __post_init__(self) -> None:
        shapes = {parse_map(rows).shape for rows in self.drawings}
        if len(shapes) != 1:
            raise ValueError(f"DrawnMaze: drawings must have one size (got {sorted(shapes)})")

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.drawings[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.drawings[0][0])

    def __call__(self, key: Key) -> Bool[Array, " C"]:
        """Draw a maze: which cells are free."""
        free = np.stack([parse_map(rows).reshape(-1) for rows in self.drawings])
        (u,) = uniforms(key, 1)
        return jnp.asarray(free)[jnp.minimum((u * len(free)).astype(jnp.int32), len(free) - 1)]


@dataclass(frozen=True, kw_only=True)
class Mazes:
    """Mazes with `num_objects` rewarding objects on random cells: rewards U(0, 1), probabilities log-uniform.

    Attributes:
        maze: the generator of the walls: `DrawnMaze()`, `DrawnMaze((LABYRINTH_RINGS,))`, `KruskalMaze(13, 13)`.
        num_objects: objects per level.
        max_steps: distribution of the time limit of an episode, in steps.
        num_updates: distribution of the lifetime's length, in inner updates.
        p_terminate: bounds of the log-uniform termination probability of an object.
        p_respawn: bounds of its log-uniform respawn probability.
        moves: the action set.
        placement: of the objects: `FixedPlacement()`, or `RandomPlacement()` at every reset and respawn.
        view: the observation, `TabularView()` or `PlaneView()`.

    Raises:
        ValueError: no objects, or probabilities outside (0, 1].

    Paper: arXiv 2310.02782, appendix C (the values).
    Differs: the nine default drawings are ours, of the same kinds and size as those of minimax that
        EmptyJackson/groove uses; returns on them are not comparable.
    """

    maze: DrawnMaze | KruskalMaze = DrawnMaze()
    num_objects: int = 3
    max_steps: IntDistribution = LogUniform(25, 50)
    num_updates: IntDistribution = Fixed(2500)
    p_terminate: tuple[float, float] = (0.01, 1.0)
    p_respawn: tuple[float, float] = (0.001, 0.1)
    moves: Moves = FOUR_MOVES
    placement: FixedPlacement | RandomPlacement = FixedPlacement()
    view: TabularView | PlaneView = TabularView()

    def __post_init__(self) -> None:
        if self.num_objects < 1:
            raise ValueError(f"Mazes: num_objects must be >= 1 (got {self.num_objects})")
        for name, (low, high) in {"p_terminate": self.p_terminate, "p_respawn": self.p_respawn}.items():
            if not 0 < low <= high <= 1:
                raise ValueError(f"Mazes: {name} must be (low, high) with 0 < low <= high <= 1 (got {low}, {high})")

    @property
    def environment(self) -> GridWorld:
        """The grid world that takes these levels as parameters."""
        return GridWorld(
            height=self.maze.height,
            width=self.maze.width,
            num_objects=self.num_objects,
            moves=self.moves,
            placement=self.placement,
            view=self.view,
        )

    def __call__(self, key: Key) -> Level:
        """Draw a level, with the length of its lifetime."""
        key_maze, key_numbers = jax.random.split(key)
        free, num = self.maze(key_maze), self.num_objects
        parts = (free.size, num, num, num, 2)
        u = jax.random.uniform(key_numbers, (sum(parts),))
        cells, reward, terminate, respawn, rest = jnp.split(u, np.cumsum(parts)[:-1])
        start, object_cell, present = scatter_objects(cells, free, num, jnp.asarray(num, jnp.int32))
        params = make_level(
            free=free,
            start=start,
            object_cell=object_cell,
            present=present,
            reward=reward,
            p_terminate=log_uniform(terminate, *self.p_terminate),
            p_respawn=log_uniform(respawn, *self.p_respawn),
            max_steps=self.max_steps(rest[0]),
        )
        return Level(params=params, num_updates=self.num_updates(rest[1]))
