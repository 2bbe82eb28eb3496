"""The grid world of LPG and GROOVE: an agent collects objects that give rewards, may end the episode, and respawn."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int

from envs.draws import uniforms
from envs.gridworld.level import GridLevel
from envs.gridworld.moves import FOUR_MOVES, Moves
from envs.gridworld.objects import Draws, has, pack, total
from envs.gridworld.placement import FixedPlacement, RandomPlacement
from envs.gridworld.views import PlaneView, TabularView
from lopt.types import Key, PlaneObs, TabularObs, TimeStep


class GridState(struct.PyTreeNode):
    """The state of an episode.

    Attributes:
        cell: of the agent.
        exists: the objects that exist, as bits (see `envs.gridworld.objects`).
        time: steps done.
        places: the state of the placement: `()`, or the cell of each object under `RandomPlacement`.
    """

    cell: Int[Array, "*n"]
    exists: Int[Array, "*n"]
    time: Int[Array, "*n"]
    places: Any


@dataclass(frozen=True, kw_only=True)
class GridWorld:
    """A grid world with room for `height * width` cells and `num_objects` objects; the level is data.

    One step, with u uniform in [0, 1):

        1. the agent moves to the cell its action points at, or stays if that is off the grid or not free
           (a diagonal at a border is blocked, it does not slide);
        2. it collects the objects that exist on its new cell: c_i = exists_i and object_cell_i = cell';
        3. exists'_i = (exists_i or u_i < p_respawn_i) and not c_i, so a collected object cannot respawn at once;
        4. reward = sum_i reward_i c_i;
        5. the episode terminates if u < sum_i p_terminate_i c_i, else it is truncated once `max_steps` are done;
        6. if it ended, the environment resets: the agent at the start, all objects present.

    Example:
        env = GridWorld(height=10, width=10, num_objects=5)
        obs, state = env.reset(key_reset, level.params)
        timestep, state = env.step(key_step, state, action, level.params)

    Attributes:
        height: rows.
        width: columns.
        num_objects: O, the largest number of objects of a level.
        moves: the action set.
        placement: of the objects: `FixedPlacement()`, or `RandomPlacement()` at every reset and respawn.
        view: the observation: `TabularView()`, a state index, or `PlaneView()`.

    Raises:
        ValueError: an empty grid, no objects, or more states than an int32 can index.

    Paper: arXiv 2007.08794, appendix A; arXiv 2310.02782, appendix C.
    Differs: LPG's paper has 9 or 18 actions (`NINE_MOVES`, `NINE_MOVES_COLLECT`); the default is the 5 of
        EmptyJackson/groove. The time limit is truncation, not termination, and `final_obs` is the observation
        before the reset: groove reports both as "done" and returns the observation after the reset. Cells are
        numbered by the environment's width, not the level's, which only renames tabular states.
    """

    height: int
    width: int
    num_objects: int
    moves: Moves = FOUR_MOVES
    placement: FixedPlacement | RandomPlacement = FixedPlacement()
    view: TabularView | PlaneView = TabularView()

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"GridWorld: height and width must be >= 1 (got {self.height} x {self.width})")
        if self.num_objects < 1:
            raise ValueError(f"GridWorld: num_objects must be >= 1 (got {self.num_objects})")
        if self.num_states >= 2**31:
            raise ValueError(f"GridWorld: {self.num_states} states do not fit an int32; use fewer objects or cells")

    @property
    def num_cells(self) -> int:
        """C, the number of cells."""
        return self.height * self.width

    @property
    def num_states(self) -> int:
        """S = C 2^O, the number of values of the tabular index."""
        return self.num_cells * 2**self.num_objects

    @property
    def num_actions(self) -> int:
        """A, the number of discrete actions."""
        return self.moves.num_actions

    def reset(self, key: Key, params: GridLevel) -> tuple[TabularObs | PlaneObs, GridState]:
        """Start an episode: `(obs, state)`; `key` is used by `RandomPlacement` only."""
        state = self._initial_state(uniforms(key, self.placement.num_draws(self.num_objects)), params)
        return self._observe(state, params), state

    def step(self, key: Key, state: GridState, action: Int[Array, ""], params: GridLevel) -> tuple[TimeStep, GridState]:
        """Take one step, and reset if it ends the episode: `(timestep, state)`."""
        u = _Uniforms(key, self.num_objects, self.placement.num_draws(self.num_objects))
        after, collected = self._advance(u, state, action, params)
        terminated = u.terminate < total(collected, params.p_terminate)
        truncated = (after.time >= params.max_steps) & ~terminated
        fresh = self._initial_state(u.reset, params)
        new = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), fresh, after)
        timestep = TimeStep(
            obs=self._observe(new, params),
            reward=total(collected, params.reward),
            discount=1 - terminated.astype(jnp.float32),
            truncated=truncated,
            final_obs=self._observe(after, params),
        )
        return timestep, new

    def move(
        self, cell: Int[Array, ""], action: Int[Array, ""], params: GridLevel
    ) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """`(cell, reached)`: the agent's cell after the action, and the cell it collects from (C for none)."""
        target = jnp.asarray(self.moves.targets(self.height, self.width))[cell, action]
        is_free = params.free.at[target].get(mode="fill", fill_value=False)
        if not self.moves.collect:
            landed = jnp.where(is_free, target, cell)
            return landed, landed
        collects = action >= self.num_actions // 2
        return jnp.where(is_free & ~collects, target, cell), jnp.where(is_free & collects, target, self.num_cells)

    def _advance(
        self, u: "_Uniforms", state: GridState, action: Int[Array, ""], params: GridLevel
    ) -> tuple[GridState, Int[Array, ""]]:
        """The state after the action, before any reset, and the objects collected, as bits."""
        cell, reached = self.move(state.cell, action, params)
        places = self.placement.cells(params, state.places)
        collected, kept, respawned = jnp.zeros((3,), jnp.int32)
        for i in range(self.num_objects):
            exists, bit = has(state.exists, i), 1 << i
            hit = exists & (places[i] == reached)
            respawns = ~exists & (u.respawn[i] < params.p_respawn[i]) & params.present[i]
            collected |= jnp.where(hit, bit, 0)
            kept |= jnp.where(exists & ~hit, bit, 0)
            respawned |= jnp.where(respawns, bit, 0)
        new_places = self.placement.respawn(u.place, params, state.places, cell, kept, respawned)
        return GridState(cell=cell, exists=kept | respawned, time=state.time + 1, places=new_places), collected

    def _initial_state(self, u: Draws, params: GridLevel) -> GridState:
        return GridState(
            cell=params.start,
            exists=pack(params.present),
            time=jnp.zeros((), jnp.int32),
            places=self.placement.reset(u, params),
        )

    def _observe(self, state: GridState, params: GridLevel) -> TabularObs | PlaneObs:
        places = self.placement.cells(params, state.places)
        return self.view(self.height, self.width, state.cell, state.exists, places, state.time)


class _Uniforms:
    """The uniform random numbers of one step, by their use."""

    def __init__(self, key: Key, num_objects: int, num_places: int) -> None:
        u = uniforms(key, num_objects + 1 + 2 * num_places)
        self.respawn, (self.terminate, *rest) = u[:num_objects], u[num_objects:]
        self.place, self.reset = tuple(rest[:num_places]), tuple(rest[num_places:])
