"""Choices of GROOVE's published code (EmptyJackson/groove) that change results, for comparing learning curves."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import returns, tree
from lopt.curriculum.replay import Priority, Rank, draw
from lopt.objectives import A2C
from lopt.objectives.a2c import A2CTargets
from lopt.types import AgentOutput, Assignment, Key, Level, Metrics, Progress, Theta, Trajectory


def mean_over_time(advantage: Float[Array, "T B"]) -> Float[Array, "T B"]:
    """At every step the mean over T of the normalised advantages.

    The published code multiplies log-probabilities of shape (T, 1) by advantages of shape (T,), which has this effect.
    """
    normalised = returns.normalise(advantage)
    return jnp.broadcast_to(normalised.mean(0, keepdims=True), advantage.shape)


@dataclass(frozen=True)
class MeanAdvantageA2C:
    """`A2C` with `mean_over_time` of its advantages."""

    a2c: A2C

    @property
    def prediction_size(self) -> int:
        """1, for the value V."""
        return self.a2c.prediction_size

    def init(self, key: Key) -> Theta:
        """`()`: A2C has no meta-parameters."""
        return self.a2c.init(key)

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> A2CTargets:
        """A2C's value targets, and the mean over time of its advantages."""
        targets = self.a2c.targets(theta, traj, out, out_next, progress)
        mean = jnp.broadcast_to(targets.advantage.mean(0, keepdims=True), targets.advantage.shape)
        return targets.replace(advantage=mean)

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: A2CTargets, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """A2C's loss."""
        return self.a2c.loss(theta, out, traj, targets, progress)


@dataclass(frozen=True)
class RawTime:
    """Time features (n, N), not scaled: the inputs of the published code's GRU, whose gates they saturate."""

    features: int = 2

    def __call__(self, progress: Progress) -> Float[Array, " 2"]:
        """n and N as floats."""
        return jnp.stack([progress.step, progress.num_updates]).astype(jnp.float32)


class GrooveState(struct.PyTreeNode):
    """State of GROOVE's buffer.

    Attributes:
        levels: C levels.
        score: the last score of each level, 0 before one.
        new: whether a level counts as not yet evaluated.
        replay_fraction: fraction of replays among the levels given out when lifetimes last ended.
    """

    levels: Level
    score: Float[Array, "*s C"]
    new: Bool[Array, "*s C"]
    replay_fraction: Float[Array, "*s"]


@dataclass(frozen=True, kw_only=True)
class GrooveCompat:
    """The level buffer of GROOVE's code, with options that reproduce its two defects; for training use `Replay`.

    Before training the buffer is filled with `capacity` generated levels, all marked as new, and lifetime n is assigned
    slot n. At every exchange, whether lifetimes have finished or not:
    1. the N slots with the lowest scores that are not in use (new ones counting as lowest) get newly generated levels
       with score 0;
    2. finished lifetimes write their scores, and their slots are no longer new;
    3. each finished lifetime is replaced by a replay with probability `replay_probability`, if at least N slots are
       neither new nor in use, otherwise by a new level, drawn uniformly. No slot is assigned twice.

    Attributes:
        generator: samples one level from a key.
        capacity: number of slots, at least twice the number of lifetimes.
        replay_probability: probability that a lifetime replays a level.
        priority: weights of the levels, drawn without replacement, if `top_transform` is off; `Proportional()` is the
            other transform of the code.
        reset_bug: step 1 sets all `new` flags to "is in use". Slots that were never in use become replayable with
            score 0, and slots in use count as new until their lifetime ends.
        top_transform: the i-th lifetime, if it replays, takes the level with the i-th highest score, without random
            sampling (of equal scores the one in the higher slot).

    Differs: without the two defects this is still not `Replay`. New levels occupy slots of the buffer, so that about N
        fewer scored levels fit; there is neither staleness nor a search for duplicates; a level with a low score is
        dropped when room is made, not when a new level exceeds it. The code's scores (pass a `Score`) and random
        streams are not reproduced, and scores that are not finite are dropped.

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
        """A buffer full of new levels, the first N of which are assigned to the lifetimes."""
        if self.capacity < 2 * num_lifetimes:
            raise ValueError(
                "GrooveCompat: capacity must be at least twice the lifetimes "
                f"(got {self.capacity}, lifetimes {num_lifetimes}, expected >= {2 * num_lifetimes})"
            )
        state = GrooveState(
            levels=jax.vmap(self.generator)(jax.random.split(key, self.capacity)),
            score=jnp.zeros((self.capacity,), jnp.float32),
            new=jnp.ones((self.capacity,), bool),
            replay_fraction=jnp.zeros((), jnp.float32),
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
        """Regenerate the lowest levels, write the finished lifetimes' scores, and assign their successors' levels."""
        key_reset, key_want, key_replay, key_new = jax.random.split(key, 4)
        slot, num = assignment.slot, finished.shape[0]
        state = self._reset(key_reset, state, self._in_use(slot), num)

        written = jnp.where(finished & (slot >= 0) & jnp.isfinite(scores), slot, self.capacity)
        score = state.score.at[written].set(scores.astype(jnp.float32), mode="drop")
        new = state.new.at[written].set(False, mode="drop")

        in_use = self._in_use(jnp.where(finished, -1, slot))
        replayable = ~new & ~in_use
        want = jax.random.bernoulli(key_want, self.replay_probability, (num,))
        replay = finished & want & (replayable.sum() >= num)
        new_slots = draw(key_new, jnp.where(new & ~in_use, 0.0, -jnp.inf), num)
        chosen = jnp.where(replay, self._replay_slots(key_replay, score, replayable, num), new_slots)

        ended = finished.sum()
        fraction = (replay.sum() / jnp.maximum(ended, 1)).astype(jnp.float32)
        state = state.replace(
            score=score, new=new, replay_fraction=jnp.where(ended > 0, fraction, state.replay_fraction)
        )
        levels = tree.where(finished, tree.take(state.levels, chosen), assignment.levels)
        return state, Assignment(levels=levels, slot=jnp.where(finished, chosen.astype(slot.dtype), slot))

    def metrics(self, state: GrooveState) -> Metrics:
        """`fill`, the fraction of slots that are not new; `score_mean` and `score_max` over these (0 without any);
        `replay_fraction`."""
        used = ~state.new
        return {
            "fill": used.mean(),
            "score_mean": jnp.where(used, state.score, 0.0).sum() / jnp.maximum(used.sum(), 1),
            "score_max": jnp.where(used.any(), jnp.where(used, state.score, -jnp.inf).max(), 0.0),
            "replay_fraction": state.replay_fraction,
        }

    def _in_use(self, slot: Int[Array, " N"]) -> Bool[Array, " C"]:
        """Which slots are assigned to a lifetime; negative entries of `slot` are ignored."""
        index = jnp.where(slot >= 0, slot, self.capacity)
        return jnp.zeros((self.capacity,), bool).at[index].set(True, mode="drop")

    def _reset(self, key: Key, state: GrooveState, in_use: Bool[Array, " C"], num: int) -> GrooveState:
        """The state with newly generated levels in the `num` lowest slots that are not in use."""
        value = jnp.where(in_use, jnp.inf, jnp.where(state.new, -jnp.inf, state.score))
        lowest = jax.lax.top_k(-value, num)[1]
        levels = jax.vmap(self.generator)(jax.random.split(key, num))
        flags = in_use if self.reset_bug else state.new
        return state.replace(
            levels=jax.tree.map(lambda all_, rows: all_.at[lowest].set(rows), state.levels, levels),
            score=state.score.at[lowest].set(0.0),
            new=flags.at[lowest].set(True),
        )

    def _replay_slots(
        self, key: Key, score: Float[Array, " C"], replayable: Bool[Array, " C"], num: int
    ) -> Int[Array, " N"]:
        """The slot that each lifetime would replay."""
        if not self.top_transform:
            return draw(key, self.priority.log_weights(score, replayable), num)
        descending = jax.lax.top_k(jnp.where(replayable, score, -jnp.inf)[::-1], num)[1]
        return self.capacity - 1 - descending
