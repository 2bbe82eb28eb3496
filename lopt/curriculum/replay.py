"""Prioritised level replay for lifetimes that end at different times, and its priorities.

A priority returns unnormalised log-weights, minus infinity for a level that must not be drawn. Logarithms do not
underflow at low temperatures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lopt import tree
from lopt.curriculum.buffer import ACTIVE, EMPTY, SCORED, Buffer, empty, record, release
from lopt.types import NEW, Assignment, Key, Level, Metrics


@runtime_checkable
class Priority(Protocol):
    """A map from the scores of a buffer to the log-weights of the replay distribution."""

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """Unnormalised log-weights of the C slots; minus infinity where not `valid`."""
        ...


@dataclass(frozen=True)
class Rank:
    """Weights w = rank^(-1/T), rank 1 for the highest score.

    T -> 0 always takes the highest score, T -> infinity is uniform. The weights depend on the order of the scores
    alone, not on their scale or sign.

    Attributes:
        temperature: T.

    Raises:
        ValueError: a temperature that is not positive.

    Paper: arXiv 2010.03934, rank prioritisation (T is beta there, 0.1 on Procgen).

    Differs: equal scores share the best of their ranks and thus have equal weights. Other codes break ties by the
        position in the buffer, so that a constant score prefers old levels.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        _check_temperature("Rank", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """log w = -log(rank) / T among the `valid` slots."""
        rank = _higher(score, valid) + 1
        return jnp.where(valid, -jnp.log(rank.astype(jnp.float32)) / self.temperature, -jnp.inf)


@dataclass(frozen=True)
class Proportional:
    """Weights w = exp(score / T), a softmax; it is invariant to a constant added to all scores.

    Attributes:
        temperature: T, in units of the scores.

    Raises:
        ValueError: a temperature that is not positive.

    Paper: arXiv 2310.02782 (its code, T = 1).

    Differs: arXiv 2010.03934 has w = score^(1/T), which is undefined for negative scores.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature("Proportional", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """log w = score / T of the `valid` slots."""
        return jnp.where(valid, score / self.temperature, -jnp.inf)


@dataclass(frozen=True)
class TopK:
    """Weights w = exp(score / T) for the k highest scores and 0 for the others; ties with the k-th are included.

    Attributes:
        k: number of levels with positive weight, without ties.
        temperature: T, in units of the scores.

    Raises:
        ValueError: k below 1, or a temperature that is not positive.

    Differs: jaxued's "topk" ignores its temperature.
    """

    k: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopK: k must be at least 1 (got {self.k}, expected >= 1)")
        _check_temperature("TopK", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """log w = score / T of the `valid` slots than which fewer than k scores are higher."""
        best = valid & (_higher(score, valid) < self.k)
        return jnp.where(best, score / self.temperature, -jnp.inf)


def draw(key: Key, log_weights: Float[Array, " C"], k: int) -> Int[Array, " k"]:
    """k indices drawn one after the other without replacement, each with probability w_c / sum of the remaining w.

    The Gumbel top-k trick makes this sequential draw in one pass: add Gumbel noise to the log-weights and take the k
    largest. Indices of weight zero come last, so that only the first `count(log_weights > -inf)` are samples.
    """
    noise = jax.random.gumbel(key, log_weights.shape, log_weights.dtype)
    return jax.lax.top_k(log_weights + noise, k)[1]


def _higher(score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Int[Array, " C"]:
    """For every slot the number of valid scores that are strictly higher."""
    rising = jnp.sort(jnp.where(valid, -score, jnp.inf))
    return jnp.searchsorted(rising, -score, side="left")


def _check_temperature(name: str, temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"{name}: temperature must be positive (got {temperature}, expected > 0)")


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Prioritised level replay: with probability p a level from the buffer, otherwise a new one from a generator.

    When a lifetime ends, its score is written to its level's slot. A level without a slot enters the buffer if there is
    room or if its score is higher than the lowest score of the `SCORED` slots. The level of the next lifetime is a
    replay with probability `replay_probability`, drawn without replacement from the `SCORED` slots with the weights

        w = (1 - rho) P_score + rho P_stale,   P_stale = (c - C_i) / sum_j (c - C_j)

    where rho is `staleness`, P_score are the normalised weights of `priority`, c counts the lifetimes that have ended
    (`num_finished`) and C_i is its value when level i was last finished (`last_seen`). Otherwise it is a level from
    `generator`, which is outside the buffer (slot `NEW`) until it has a score. A score that is not finite is not
    recorded: the slot keeps its last score, a new level is dropped. An exchange in which no lifetime has ended changes
    nothing.

    Attributes:
        generator: samples one level from a key; the curriculum vmaps it over the lifetimes that need a level.
        capacity: number of slots, at least twice the number of lifetimes.
        replay_probability: p, the probability that a lifetime replays a level.
        priority: map from scores to replay weights.
        staleness: rho in [0, 1], the weight of the staleness distribution.
        minimum_fill: number of `SCORED` slots below which nothing is replayed; None for the number of lifetimes.
        dedupe: whether a new level that is already in the buffer updates its slot instead of taking a second one.

    Raises:
        ValueError: a value out of range, here or in `init`.

    Paper: arXiv 2310.02782 (capacity 4000, p = 0.5, no staleness); arXiv 2010.03934 (PLR: priorities and
    staleness); arXiv 2110.02439 (robust PLR: new levels against the buffer's lowest).

    Differs: GROOVE's code takes the highest scores deterministically and resets the flags of its buffer wrongly
        (`--compat` of `experiments.groove` reproduces both). Here the level with the lowest score is replaced; other
        codes replace the one with the lowest replay weight, which with staleness can be a level that was replayed
        recently. The learner is trained on new levels too, as in GROOVE; in robust PLR it is not.
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
        """An empty buffer and a newly generated level for every lifetime."""
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
        """Write the finished lifetimes' scores to the buffer, then assign their successors' levels."""
        key_want, key_slot, key_level = jax.random.split(key, 3)
        levels, slot = assignment.levels, assignment.slot
        scores = scores.astype(jnp.float32)
        ended = finished.sum(dtype=jnp.int32)

        buffer = state.replace(num_finished=state.num_finished + ended)
        buffer = release(buffer, slot, scores, finished)
        buffer = record(buffer, levels, slot, scores, finished, self.dedupe)

        want = finished & jax.random.bernoulli(key_want, self.replay_probability, finished.shape)
        replay, replay_slot = self._replay_slots(key_slot, buffer, want)
        # an index of capacity is out of bounds, and a scatter drops it
        taken = jnp.where(replay, replay_slot, self.capacity)
        fraction = replay.sum() / jnp.maximum(ended, 1)
        buffer = buffer.replace(
            status=buffer.status.at[taken].set(ACTIVE, mode="drop"),
            replay_fraction=jnp.where(ended > 0, fraction.astype(jnp.float32), state.replay_fraction),
        )

        keys = jax.random.split(key_level, finished.shape[0])
        levels = tree.masked_map(self.generator, finished & ~replay, levels, keys)
        levels = tree.where(replay, tree.take(buffer.levels, replay_slot), levels)
        new_slot = jnp.where(replay, replay_slot, NEW).astype(slot.dtype)
        return buffer, Assignment(levels=levels, slot=jnp.where(finished, new_slot, slot))

    def log_weights(self, state: Buffer) -> Float[Array, " C"]:
        """Normalised log w of every slot; minus infinity for slots that are not `SCORED`."""
        valid = state.status == SCORED
        log_score = _log_normalise(self.priority.log_weights(state.score, valid))
        if self.staleness == 0:
            return log_score
        age = jnp.where(valid, state.num_finished - state.last_seen, 0).astype(jnp.float32)
        # P_stale is undefined when all levels were seen just now
        log_stale = jnp.where(age.sum() > 0, _log_normalise(jnp.log(age)), log_score)
        rho = jnp.float32(self.staleness)
        return jnp.logaddexp(jnp.log1p(-rho) + log_score, jnp.log(rho) + log_stale)

    def metrics(self, state: Buffer) -> Metrics:
        """Metrics of the buffer.

        `fill` is the fraction of slots with a level, `score_mean` and `score_max` are over these levels, `age_mean` is
        the mean number of lifetimes that have ended since they were last seen (0 for an empty buffer);
        `replay_fraction`.
        """
        used = state.status != EMPTY
        count = used.sum()
        some = jnp.maximum(count, 1)
        age = state.num_finished - state.last_seen
        return {
            "fill": (count / self.capacity).astype(jnp.float32),
            "score_mean": jnp.where(used, state.score, 0.0).sum() / some,
            "score_max": jnp.where(count > 0, jnp.where(used, state.score, -jnp.inf).max(), 0.0),
            "age_mean": (jnp.where(used, age, 0).sum() / some).astype(jnp.float32),
            "replay_fraction": state.replay_fraction,
        }

    def _replay_slots(
        self, key: Key, buffer: Buffer, want: Bool[Array, " N"]
    ) -> tuple[Bool[Array, " N"], Int[Array, " N"]]:
        """Which of the lifetimes in `want` replay a level, and its slot: the k-th of them the k-th slot drawn."""
        num = want.shape[0]
        log_weights = self.log_weights(buffer)
        enough = (buffer.status == SCORED).sum() >= self._minimum_fill(num)
        order = jnp.cumsum(want) - 1
        replay = want & enough & (order < (log_weights > -jnp.inf).sum())
        return replay, draw(key, log_weights, num)[jnp.maximum(order, 0)]

    def _minimum_fill(self, num_lifetimes: int) -> int:
        return num_lifetimes if self.minimum_fill is None else self.minimum_fill


def _log_normalise(log_weights: Float[Array, " C"]) -> Float[Array, " C"]:
    """Log-weights of weights that sum to 1; unchanged if all are minus infinity."""
    total = jax.nn.logsumexp(log_weights)
    return log_weights - jnp.where(total > -jnp.inf, total, 0.0)
