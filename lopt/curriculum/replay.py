"""Prioritised level replay for lifetimes that end at different times."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.curriculum.buffer import ACTIVE, EMPTY, SCORED, Buffer, empty, record, release
from lopt.curriculum.priority import Priority, Rank, draw
from lopt.types import NEW, Assignment, Key, Level, Metrics


@dataclass(frozen=True, kw_only=True)
class Replay:
    """New levels from a generator, and with probability p a level worth playing again.

    When a lifetime ends, its score is written to its level's slot; a level played for the first time enters
    the buffer if there is room or its score is higher than the lowest one that waits. The lifetime's
    successor replays a level with probability `replay_probability`, drawn without replacement among the
    SCORED ones by

        w = (1 - rho) P_score + rho P_stale,   P_stale = (clock - last_seen) / sum of the same

    where rho is `staleness`, P_score are `priority`'s normalised weights, and the clock counts ended
    lifetimes. Otherwise it plays a level from `generator`, which stays outside the buffer (slot NEW) until
    it has been scored. A score that is not finite was not measured: the slot keeps its last score, a new
    level is forgotten. An exchange in which no lifetime has ended changes nothing.

    Attributes:
        generator: samples one level from a key; it is vmapped here, and only for the lanes that need a level.
        capacity: slots of the buffer, at least twice the lifetimes.
        replay_probability: p, the chance that a lifetime replays a level.
        priority: how scores become weights.
        staleness: rho in [0, 1].
        minimum_fill: scored levels that must wait for anything to be replayed; None for the number of lifetimes.
        dedupe: a level that is generated again updates its slot instead of taking a second one.

    Raises:
        ValueError: a value out of range, here or in `init`.

    Paper: arXiv 2310.02782 (capacity 4000, p = 0.5, no staleness); arXiv 2010.03934 (PLR: priorities and
    staleness); arXiv 2110.02439 (robust PLR: new levels against the buffer's lowest).

    Differs: GROOVE's code takes the highest scores deterministically and marks its buffer wrongly
    (`GrooveCompat` reproduces both). A slot is given up by score alone; peers use the replay weight, in
    which, with staleness, a level can lose its slot for having been played recently. The learner trains on
    new levels too, as in GROOVE (robust PLR does not).
    """

    generator: Callable[[Key], Level]
    capacity: int = 4000
    replay_probability: float = 0.5
    priority: Priority = Rank()
    staleness: float = 0.0
    minimum_fill: int | None = None
    dedupe: bool = True

    def __post_init__(self) -> None:
        if not callable(self.generator):
            raise ValueError(f"Replay: generator must be callable (got {self.generator!r}, expected key -> level)")
        if self.capacity < 2:
            raise ValueError(f"Replay: capacity must hold two levels or more (got {self.capacity}, expected >= 2)")
        for name in ("replay_probability", "staleness"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"Replay: {name} must be a fraction (got {value}, expected 0 <= {name} <= 1)")
        if self.minimum_fill is not None and self.minimum_fill < 0:
            raise ValueError(f"Replay: minimum_fill must be a count (got {self.minimum_fill}, expected >= 0)")

    def init(self, key: Key, num_lifetimes: int) -> tuple[Buffer, Assignment]:
        """An empty buffer, and a new level for every lifetime."""
        if self.capacity < 2 * num_lifetimes:
            raise ValueError(
                "Replay: capacity must be at least twice the lifetimes "
                f"(got {self.capacity}, lifetimes {num_lifetimes}, expected >= {2 * num_lifetimes})"
            )
        if self._minimum_fill(num_lifetimes) > self.capacity - num_lifetimes:
            raise ValueError(
                "Replay: minimum_fill must leave a slot for every lifetime "
                f"(got {self.minimum_fill}, expected <= {self.capacity - num_lifetimes})"
            )
        levels = jax.vmap(self.generator)(jax.random.split(key, num_lifetimes))
        slot = jnp.full((num_lifetimes,), NEW, jnp.int32)
        return empty(tree.take(levels, 0), self.capacity), Assignment(levels=levels, slot=slot)

    def exchange(
        self,
        key: Key,
        state: Buffer,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[Buffer, Assignment]:
        """Write the finished lifetimes' scores, then choose their successors' levels."""
        key_want, key_place, key_level = jax.random.split(key, 3)
        levels, slot = assignment.levels, assignment.slot
        scores = scores.astype(jnp.float32)
        ended = finished.sum(dtype=jnp.int32)

        buffer = state.replace(clock=state.clock + ended)
        buffer = release(buffer, slot, scores, finished)
        buffer = record(buffer, levels, slot, scores, finished, self.dedupe)

        want = finished & jax.random.bernoulli(key_want, self.replay_probability, finished.shape)
        replay, place = self._places(key_place, buffer, want)
        # an index of capacity is out of bounds, and a scatter drops it
        taken = jnp.where(replay, place, self.capacity)
        share = replay.sum() / jnp.maximum(ended, 1)
        buffer = buffer.replace(
            status=buffer.status.at[taken].set(ACTIVE, mode="drop"),
            replayed=jnp.where(ended > 0, share.astype(jnp.float32), state.replayed),
        )

        keys = jax.random.split(key_level, finished.shape[0])
        levels = tree.masked_map(self.generator, finished & ~replay, levels, keys)
        levels = tree.where(replay, tree.take(buffer.levels, place), levels)
        new_slot = jnp.where(replay, place, NEW).astype(slot.dtype)
        return buffer, Assignment(levels=levels, slot=jnp.where(finished, new_slot, slot))

    def log_weights(self, state: Buffer) -> Float[Array, " C"]:
        """log w of every slot, normalised; minus infinity for one that must not be replayed."""
        valid = state.status == SCORED
        log_score = _log_normalise(self.priority.log_weights(state.score, valid))
        if self.staleness == 0:
            return log_score
        age = jnp.where(valid, state.clock - state.last_seen, 0).astype(jnp.float32)
        # nothing is stale when everything was seen just now
        log_stale = jnp.where(age.sum() > 0, _log_normalise(jnp.log(age)), log_score)
        rho = jnp.float32(self.staleness)
        return jnp.logaddexp(jnp.log1p(-rho) + log_score, jnp.log(rho) + log_stale)

    def metrics(self, state: Buffer) -> Metrics:
        """Share of slots in use; score and age (in ended lifetimes) of their levels, 0 if none; replays."""
        used = state.status != EMPTY
        count = used.sum()
        some = jnp.maximum(count, 1)
        age = state.clock - state.last_seen
        return {
            "fill": (count / self.capacity).astype(jnp.float32),
            "score_mean": jnp.where(used, state.score, 0.0).sum() / some,
            "score_max": jnp.where(count > 0, jnp.where(used, state.score, -jnp.inf).max(), 0.0),
            "age_mean": (jnp.where(used, age, 0).sum() / some).astype(jnp.float32),
            "replay_fraction": state.replayed,
        }

    def _places(self, key: Key, buffer: Buffer, want: Bool[Array, " N"]) -> tuple[Bool[Array, " N"], Int[Array, " N"]]:
        """Which of the lanes that want a replay get one, and where: the k-th of them the k-th level drawn."""
        num = want.shape[0]
        log_weights = self.log_weights(buffer)
        enough = (buffer.status == SCORED).sum() >= self._minimum_fill(num)
        turn = jnp.cumsum(want) - 1
        replay = want & enough & (turn < (log_weights > -jnp.inf).sum())
        return replay, draw(key, log_weights, num)[jnp.maximum(turn, 0)]

    def _minimum_fill(self, num_lifetimes: int) -> int:
        return num_lifetimes if self.minimum_fill is None else self.minimum_fill


def _log_normalise(log_weights: Float[Array, " C"]) -> Float[Array, " C"]:
    """Log-weights whose weights sum to 1; all minus infinity stays so."""
    total = jax.nn.logsumexp(log_weights)
    return log_weights - jnp.where(total > -jnp.inf, total, 0.0)
