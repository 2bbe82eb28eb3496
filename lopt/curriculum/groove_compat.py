"""The level buffer as GROOVE's published code keeps it, for comparisons."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.curriculum.priority import Priority, Rank, draw
from lopt.types import Assignment, Key, Level, Metrics


class GrooveState(struct.PyTreeNode):
    """C levels; `new` says "not evaluated yet", `replayed` is the share of replays at the last exchange."""

    levels: Level
    score: Float[Array, "*s C"]
    new: Bool[Array, "*s C"]
    replayed: Float[Array, "*s"]


@dataclass(frozen=True, kw_only=True)
class GrooveCompat:
    """The buffer of GROOVE's code, its two defects as switches: for comparing curves; train with `Replay`.

    What is reproduced: the buffer is filled with `capacity` generated levels before training, all new, and
    every lifetime holds a slot, the first N to begin with. At every exchange, finished lifetimes or not:
    1. the N lowest slots that nobody plays, new ones counting as lowest, get new levels of score 0;
    2. finished lifetimes write their score, and their slots are not new any more;
    3. each successor replays with `replay_probability`, if N slots are neither new nor in play; otherwise
       it takes a new slot, uniformly. No slot is taken twice.

    Attributes:
        generator: samples one level from a key.
        capacity: slots of the buffer, at least twice the lifetimes.
        replay_probability: the chance that a lifetime replays a level.
        priority: without `top_transform`, the weights to draw by (without replacement); `Proportional()` is the
            code's other transform.
        reset_bug: step 1 rebuilds all `new` flags from "is in play". Slots never played become replayable with
            score 0, and slots in play count as new until their life ends.
        top_transform: the replaying lane i takes the i-th highest score, with no chance involved (equal scores:
            the higher slot).

    With both off this is still not `Replay`: new levels take slots of the buffer, so about N fewer scored
    levels fit, nothing looks for staleness or duplicates, and a low level goes when room is made and not
    when it is beaten. Not reproduced: the score (inject one), the random streams, and scores that are not
    finite, which are dropped here.

    Raises:
        ValueError: a value out of range, here or in `init`.

    Paper: arXiv 2310.02782; this is its code's behaviour, not the paper's text.
    """

    generator: Callable[[Key], Level]
    capacity: int = 4000
    replay_probability: float = 0.5
    priority: Priority = Rank()
    reset_bug: bool = True
    top_transform: bool = True

    def __post_init__(self) -> None:
        if not callable(self.generator):
            raise ValueError(
                f"GrooveCompat: generator must be callable (got {self.generator!r}, expected key -> level)"
            )
        if not 0 <= self.replay_probability <= 1:
            raise ValueError(
                "GrooveCompat: replay_probability must be a fraction "
                f"(got {self.replay_probability}, expected 0 <= replay_probability <= 1)"
            )

    def init(self, key: Key, num_lifetimes: int) -> tuple[GrooveState, Assignment]:
        """A full buffer of new levels, of which the lifetimes play the first."""
        if self.capacity < 2 * num_lifetimes:
            raise ValueError(
                "GrooveCompat: capacity must be at least twice the lifetimes "
                f"(got {self.capacity}, lifetimes {num_lifetimes}, expected >= {2 * num_lifetimes})"
            )
        state = GrooveState(
            levels=jax.vmap(self.generator)(jax.random.split(key, self.capacity)),
            score=jnp.zeros((self.capacity,), jnp.float32),
            new=jnp.ones((self.capacity,), bool),
            replayed=jnp.zeros((), jnp.float32),
        )
        slot = jnp.arange(num_lifetimes, dtype=jnp.int32)
        return state, Assignment(levels=tree.take(state.levels, slot), slot=slot)

    def exchange(
        self,
        key: Key,
        state: GrooveState,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[GrooveState, Assignment]:
        """Make room, write the scores, choose the successors' slots."""
        key_reset, key_want, key_replay, key_new = jax.random.split(key, 4)
        slot, num = assignment.slot, finished.shape[0]
        state = self._reset(key_reset, state, self._held(slot), num)

        written = jnp.where(finished & (slot >= 0) & jnp.isfinite(scores), slot, self.capacity)
        score = state.score.at[written].set(scores.astype(jnp.float32), mode="drop")
        new = state.new.at[written].set(False, mode="drop")

        playing = self._held(jnp.where(finished, -1, slot))
        waiting = ~new & ~playing
        want = jax.random.bernoulli(key_want, self.replay_probability, (num,))
        replay = finished & want & (waiting.sum() >= num)
        fresh = draw(key_new, jnp.where(new & ~playing, 0.0, -jnp.inf), num)
        chosen = jnp.where(replay, self._replays(key_replay, score, waiting, num), fresh)

        ended = finished.sum()
        share = (replay.sum() / jnp.maximum(ended, 1)).astype(jnp.float32)
        state = state.replace(score=score, new=new, replayed=jnp.where(ended > 0, share, state.replayed))
        levels = tree.where(finished, tree.take(state.levels, chosen), assignment.levels)
        return state, Assignment(levels=levels, slot=jnp.where(finished, chosen.astype(slot.dtype), slot))

    def metrics(self, state: GrooveState) -> Metrics:
        """Share of slots marked as evaluated, their scores (0 if there are none), replays."""
        used = ~state.new
        return {
            "fill": used.mean(),
            "score_mean": jnp.where(used, state.score, 0.0).sum() / jnp.maximum(used.sum(), 1),
            "score_max": jnp.where(used.any(), jnp.where(used, state.score, -jnp.inf).max(), 0.0),
            "replay_fraction": state.replayed,
        }

    def _held(self, slot: Int[Array, " N"]) -> Bool[Array, " C"]:
        """Which slots the lanes hold; a negative slot holds none."""
        index = jnp.where(slot >= 0, slot, self.capacity)
        return jnp.zeros((self.capacity,), bool).at[index].set(True, mode="drop")

    def _reset(self, key: Key, state: GrooveState, playing: Bool[Array, " C"], num: int) -> GrooveState:
        """Generate the lowest slots again."""
        value = jnp.where(playing, jnp.inf, jnp.where(state.new, -jnp.inf, state.score))
        lowest = jax.lax.top_k(-value, num)[1]
        levels = jax.vmap(self.generator)(jax.random.split(key, num))
        flags = playing if self.reset_bug else state.new
        return state.replace(
            levels=jax.tree.map(lambda all_, rows: all_.at[lowest].set(rows), state.levels, levels),
            score=state.score.at[lowest].set(0.0),
            new=flags.at[lowest].set(True),
        )

    def _replays(self, key: Key, score: Float[Array, " C"], waiting: Bool[Array, " C"], num: int) -> Int[Array, " N"]:
        """A slot to replay for each lane."""
        if not self.top_transform:
            return draw(key, self.priority.log_weights(score, waiting), num)
        falling = jax.lax.top_k(jnp.where(waiting, score, -jnp.inf)[::-1], num)[1]
        return self.capacity - 1 - falling
