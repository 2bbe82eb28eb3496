"""The hand-designed grid worlds that LPG was meta-trained on: five tabular sets and five random ones.

Each function returns a distribution of levels. Its keyword arguments override fields of `GridSet`, for instance
`dense(moves=NINE_MOVES_COLLECT)`, `dense(moves=FOUR_MOVES)` (GROOVE's action set) or `dense(num_updates=Fixed(100))`.

Paper: arXiv 2007.08794, appendix A; arXiv 2310.02782, appendix C.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from envs.gridworld.grid import GridWorld
from envs.gridworld.level import make_level, scatter_objects
from envs.gridworld.maps import open_map, parse_map
from envs.gridworld.moves import FOUR_MOVES, NINE_MOVES, Moves
from envs.gridworld.placement import FixedPlacement, RandomPlacement
from envs.gridworld.views import PlaneView, TabularView
from envs.int_distributions import Fixed, IntDistribution
from lopt.types import Key, Level


@dataclass(frozen=True, kw_only=True)
class GridSet:
    """Levels of one map and one list of objects, with start and objects on random cells, drawn once per level.

    Under `RandomPlacement` the objects also move at every reset and respawn; the start does not.

    Attributes:
        rows: the map (see `parse_map`).
        objects: `(reward, p_terminate, p_respawn)` for each object.
        max_steps: distribution of the time limit of an episode, in steps.
        num_updates: distribution of the length of a lifetime, in updates; 2500 updates are about 3e6 steps at 64 x 20
            per update.
        moves: the action set; the paper samples 9 or 18 actions per lifetime.
        placement: of the objects: `FixedPlacement()`, or `RandomPlacement()` at every reset and respawn.
        view: the observation, `TabularView()` or `PlaneView()`.

    Raises:
        ValueError: a map that cannot be read or has too few free cells, or probabilities outside [0, 1].

    Differs: the start is drawn once per level, as in EmptyJackson/groove; other re-implementations redraw it for every
        episode.
    """

    rows: tuple[str, ...]
    objects: tuple[tuple[float, float, float], ...]
    max_steps: IntDistribution
    num_updates: IntDistribution = Fixed(2500)
    moves: Moves = NINE_MOVES
    placement: FixedPlacement | RandomPlacement = FixedPlacement()
    view: TabularView | PlaneView = TabularView()

    def __post_init__(self) -> None:
        num_free = int(parse_map(self.rows).sum())
        if not 1 <= len(self.objects) < num_free:
            raise ValueError(
                f"GridSet: {num_free} free cells hold 1 to {num_free - 1} objects (got {len(self.objects)})"
            )
        for _, p_terminate, p_respawn in self.objects:
            if not (0 <= p_terminate <= 1 and 0 <= p_respawn <= 1):
                raise ValueError(f"GridSet: probabilities must be in [0, 1] (got {p_terminate}, {p_respawn})")

    @property
    def environment(self) -> GridWorld:
        """The grid world that takes these levels as parameters."""
        height, width = len(self.rows), len(self.rows[0])
        return GridWorld(
            height=height,
            width=width,
            num_objects=len(self.objects),
            moves=self.moves,
            placement=self.placement,
            view=self.view,
        )

    def __call__(self, key: Key) -> Level:
        """Draw a level, with the length of its lifetime."""
        free = jnp.asarray(parse_map(self.rows).reshape(-1))
        num = len(self.objects)
        cells, rest = jnp.split(jax.random.uniform(key, (free.size + 2,)), (free.size,))
        start, object_cell, present = scatter_objects(cells, free, num, jnp.asarray(num, jnp.int32))
        reward, p_terminate, p_respawn = jnp.asarray(self.objects, jnp.float32).T
        params = make_level(free, start, object_cell, present, reward, p_terminate, p_respawn, self.max_steps(rest[0]))
        return Level(params=params, num_updates=self.num_updates(rest[1]))


_DENSE = (*2 * ((1.0, 0.0, 0.05),), (-1.0, 0.5, 0.1), (-1.0, 0.0, 0.5))
_LONG = (*2 * ((1.0, 0.0, 0.01),), *2 * ((-1.0, 0.5, 1.0),))
_RANDOM: dict[str, Any] = {"placement": RandomPlacement(), "view": PlaneView(), "num_updates": Fixed(25_000)}

MAP_LONGER = ("....#....", ".........", "....#....", "...###...", "....#....", ".........", "....#....")
"""7 x 9: a middle wall with two gaps and a short crossbar."""
MAP_LONG_DENSE = (
    "...........",
    ".....#.....",
    ".....#.....",
    ".....#.....",
    "##.#####.##",
    ".....#.....",
    ".....#.....",
    "...........",
    ".....#.....",
    ".....#.....",
    ".....#.....",
)
"""11 x 11: four rooms."""
MAP_SMALL = (".......", "..#....", ".......", "....#..", ".......")
"""5 x 7 with two pillars, at (1, 2) and (3, 4)."""
MAP_GROOVE_LONGER = ("....#....", ".........", *5 * ("....#....",), ".........", "....#....")
"""9 x 9: a middle wall with two gaps."""


def dense(**changes: Any) -> GridSet:
    """Tabular "dense": 11 x 11, 500 steps, respawning objects."""
    return GridSet(**{"rows": open_map(11, 11), "objects": _DENSE, "max_steps": Fixed(500), **changes})


def sparse(**changes: Any) -> GridSet:
    """Tabular "sparse": 13 x 13, 50 steps, one good and one bad object that end the episode."""
    objects = ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0))
    return GridSet(**{"rows": open_map(13, 13), "objects": objects, "max_steps": Fixed(50), **changes})


def long_horizon(**changes: Any) -> GridSet:
    """Tabular "long horizon": 11 x 11, 1000 steps."""
    return GridSet(**{"rows": open_map(11, 11), "objects": _LONG, "max_steps": Fixed(1000), **changes})


def longer_horizon(**changes: Any) -> GridSet:
    """Tabular "longer horizon": 7 x 9 with walls, 2000 steps, two good and five bad objects."""
    objects = (*2 * ((1.0, 0.1, 0.01),), *5 * ((-1.0, 0.8, 1.0),))
    return GridSet(**{"rows": MAP_LONGER, "objects": objects, "max_steps": Fixed(2000), **changes})


def long_dense(**changes: Any) -> GridSet:
    """Tabular "long dense": 11 x 11 in four rooms, 2000 steps, four good objects that rarely respawn."""
    return GridSet(**{"rows": MAP_LONG_DENSE, "objects": 4 * ((1.0, 0.0, 0.005),), "max_steps": Fixed(2000), **changes})


def rand_dense(**changes: Any) -> GridSet:
    """Random "dense": `dense` with random placement."""
    return dense(**(_RANDOM | changes))


def rand_long_horizon(**changes: Any) -> GridSet:
    """Random "long horizon": `long_horizon` with random placement."""
    return long_horizon(**(_RANDOM | changes))


def rand_small(**changes: Any) -> GridSet:
    """Random "small": 5 x 7 with two pillars, 500 steps."""
    objects = (*2 * ((1.0, 0.0, 0.05),), *2 * ((-1.0, 0.5, 0.1),))
    return GridSet(**{"rows": MAP_SMALL, "objects": objects, "max_steps": Fixed(500), **_RANDOM, **changes})


def rand_small_sparse(**changes: Any) -> GridSet:
    """Random "small sparse": 5 x 7, 50 steps, one good and two bad objects that end the episode."""
    objects = ((1.0, 1.0, 1.0), *2 * ((-1.0, 1.0, 1.0),))
    return GridSet(**{"rows": open_map(5, 7), "objects": objects, "max_steps": Fixed(50), **_RANDOM, **changes})


def rand_very_dense(**changes: Any) -> GridSet:
    """Random "very dense": 11 x 11, 2000 steps, one good object that respawns at once."""
    objects = ((1.0, 0.0, 1.0),)
    return GridSet(**{"rows": open_map(11, 11), "objects": objects, "max_steps": Fixed(2000), **_RANDOM, **changes})


def groove_longer_horizon(**changes: Any) -> GridSet:
    """GROOVE's "longer": 9 x 9, another wall, and three bad objects instead of five, for fewer tabular states."""
    objects = (*2 * ((1.0, 0.1, 0.01),), *3 * ((-1.0, 0.8, 1.0),))
    return longer_horizon(**{"rows": MAP_GROOVE_LONGER, "objects": objects, "moves": FOUR_MOVES, **changes})


def groove_rand_small(**changes: Any) -> GridSet:
    """GROOVE's random "small": 7 x 7 instead of 5 x 7, the same two pillars."""
    return rand_small(**{"rows": (*MAP_SMALL, *open_map(2, 7)), "moves": FOUR_MOVES, **changes})


def groove_rand_small_sparse(**changes: Any) -> GridSet:
    """GROOVE's random "sparse": 7 x 7 instead of 5 x 7."""
    return rand_small_sparse(**{"rows": open_map(7, 7), "moves": FOUR_MOVES, **changes})


TABULAR_SETS = (dense, sparse, long_horizon, longer_horizon, long_dense)
"""The five tabular sets of LPG's paper."""
RANDOM_SETS = (rand_dense, rand_long_horizon, rand_small, rand_small_sparse, rand_very_dense)
"""The five random sets of LPG's paper."""
