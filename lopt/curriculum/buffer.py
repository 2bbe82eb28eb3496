"""The level buffer of prioritised level replay: C scored levels in arrays of fixed shape."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from lopt import tree
from lopt.types import NEW, Level

EMPTY = 0
"""Status of a slot: no level."""
SCORED = 1
"""Status of a slot: a scored level that may be replayed."""
ACTIVE = 2
"""Status of a slot: a scored level that is being replayed."""


class Buffer(struct.PyTreeNode):
    """State of the level buffer: C slots for scored levels (a level without a score is in the assignment only).

    Attributes:
        levels: leaves `[C, ...]`.
        score: the last score of each level; minus infinity in an empty slot.
        last_seen: `num_finished` when a lifetime on the slot's level last ended.
        fingerprint: hash of each level, to find duplicates.
        status: `EMPTY`, `SCORED` or `ACTIVE`.
        num_finished: number of lifetimes that have ended so far.
        replay_fraction: fraction of replays among the levels given out when lifetimes last ended.
    """

    levels: Level
    score: Float[Array, "*s C"]
    last_seen: Int[Array, "*s C"]
    fingerprint: UInt32[Array, "*s C"]
    status: Int[Array, "*s C"]
    num_finished: Int[Array, "*s"]
    replay_fraction: Float[Array, "*s"]


class Extremes(NamedTuple):
    """The k levels with the highest scores, highest first, and the k with the lowest, lowest first.

    Only the rows that are `valid` are levels: the buffer may hold fewer than k.
    """

    levels_high: Level
    scores_high: Float[Array, " k"]
    levels_low: Level
    scores_low: Float[Array, " k"]
    valid: Bool[Array, " k"]


def empty(level: Level, capacity: int) -> Buffer:
    """An empty buffer of `capacity` slots, filled with copies of `level` so that every row is a well-formed level."""
    return Buffer(
        levels=jax.tree.map(lambda x: jnp.broadcast_to(x, (capacity, *x.shape)), level),
        score=jnp.full((capacity,), -jnp.inf, jnp.float32),
        last_seen=jnp.zeros((capacity,), jnp.int32),
        fingerprint=jnp.zeros((capacity,), jnp.uint32),
        status=jnp.full((capacity,), EMPTY, jnp.int32),
        num_finished=jnp.zeros((), jnp.int32),
        replay_fraction=jnp.zeros((), jnp.float32),
    )


def release(buffer: Buffer, slot: Int[Array, " N"], scores: Float[Array, " N"], finished: Bool[Array, " N"]) -> Buffer:
    """The buffer after finished lifetimes have released their slots, with their finite scores written.

    An `ACTIVE` slot that no lifetime refers to any more becomes `SCORED`, too (this happens if `slot` was changed by
    the caller).

    Args:
        buffer: the state before.
        slot: slot of each lifetime's level; negative for a level that is not in the buffer.
        scores: scores of the lifetimes; those that are not finite are not written.
        finished: which lifetimes have ended.
    """
    capacity = buffer.status.shape[0]
    in_use = jnp.zeros((capacity,), bool).at[_index_where(slot >= 0, slot, capacity)].set(True, mode="drop")
    status = jnp.where((buffer.status == ACTIVE) & ~in_use, SCORED, buffer.status)
    freed = finished & (slot >= 0)
    index = _index_where(freed, slot, capacity)
    measured = _index_where(freed & jnp.isfinite(scores), slot, capacity)
    return buffer.replace(
        score=buffer.score.at[measured].set(scores, mode="drop"),
        last_seen=buffer.last_seen.at[index].set(buffer.num_finished, mode="drop"),
        status=status.at[index].set(SCORED, mode="drop"),
    )


def record(
    buffer: Buffer,
    levels: Level,
    slot: Int[Array, " N"],
    scores: Float[Array, " N"],
    finished: Bool[Array, " N"],
    dedupe: bool,
) -> Buffer:
    """The buffer after inserting the new levels of finished lifetimes, if their scores are high enough.

    New levels with a finite score take the empty slots first. The others replace `SCORED` levels with a strictly lower
    score, the highest new score against the lowest in the buffer, so that the buffer keeps the best of both. `ACTIVE`
    slots are never overwritten.

    Args:
        buffer: the state before.
        levels: levels of the N lifetimes.
        slot: `NEW` for a level that is not in the buffer.
        scores: scores of the lifetimes.
        finished: which lifetimes have ended.
        dedupe: whether a level that is already in the buffer updates the score of its slot instead; of equal new
            levels the one of the last lifetime is used.
    """
    capacity, num = buffer.status.shape[0], slot.shape[0]
    candidate = finished & (slot == NEW) & jnp.isfinite(scores)
    code = jax.vmap(fingerprint)(levels)
    if dedupe:
        row = jnp.arange(num)
        later = row[None, :] > row[:, None]
        candidate &= ~((code[:, None] == code[None, :]) & candidate[None, :] & later).any(axis=1)
        match = (code[:, None] == buffer.fingerprint[None, :]) & (buffer.status != EMPTY)[None, :]
        known = _index_where(candidate & match.any(axis=1), match.argmax(axis=1), capacity)
        candidate &= known == capacity
        buffer = buffer.replace(
            score=buffer.score.at[known].set(scores, mode="drop"),
            last_seen=buffer.last_seen.at[known].set(buffer.num_finished, mode="drop"),
        )
    order = jnp.argsort(jnp.where(candidate, -scores, jnp.inf), stable=True)
    victim, threshold = _victims(buffer, num)
    index = _index_where(candidate[order] & (scores[order] > threshold), victim, capacity)

    def put(slots: Any, rows: Any) -> Any:
        return slots.at[index].set(rows[order], mode="drop")

    return buffer.replace(
        levels=jax.tree.map(put, buffer.levels, levels),
        score=put(buffer.score, scores),
        last_seen=buffer.last_seen.at[index].set(buffer.num_finished, mode="drop"),
        fingerprint=put(buffer.fingerprint, code),
        status=buffer.status.at[index].set(SCORED, mode="drop"),
    )


def extremes(buffer: Buffer, k: int) -> Extremes:
    """The k levels with the highest and the k with the lowest scores in a buffer, for inspection."""
    occupied = buffer.status != EMPTY
    high, at_high = jax.lax.top_k(jnp.where(occupied, buffer.score, -jnp.inf), k)
    low, at_low = jax.lax.top_k(jnp.where(occupied, -buffer.score, -jnp.inf), k)
    return Extremes(
        levels_high=tree.take(buffer.levels, at_high),
        scores_high=high,
        levels_low=tree.take(buffer.levels, at_low),
        scores_low=-low,
        valid=jnp.arange(k) < occupied.sum(),
    )


def _victims(buffer: Buffer, num: int) -> tuple[Int[Array, " N"], Float[Array, " N"]]:
    """The N slots to overwrite first, and the score that a new level must exceed: -inf if empty, +inf if `ACTIVE`."""
    threshold = jnp.where(buffer.status == ACTIVE, jnp.inf, buffer.score)
    threshold = jnp.where(buffer.status == EMPTY, -jnp.inf, threshold)
    value, victim = jax.lax.top_k(-threshold, num)
    return victim, -value


def _index_where(mask: Bool[Array, " N"], index: Int[Array, " N"], capacity: int) -> Int[Array, " N"]:
    """`index` where `mask`, else `capacity`, which a scatter with mode "drop" ignores."""
    return jnp.where(mask, index, capacity)


_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}


def fingerprint(level: Level) -> UInt32[Array, ""]:
    """Hash of all leaves of one level: parameters, lifetime and rates.

    The level is read as words w_1 ... w_W of 32 bits, and h = mix(W + sum_i mix(w_i xor mix(i))) modulo 2^32, where
    `mix` is MurmurHash3's finaliser, a bijection of 32-bit words in which every input bit affects every output bit. The
    sum does not depend on an order, so that it is one reduction. Minus zero hashes as zero.

    Two different levels collide with probability 2^-32. With a buffer of 4000 levels that is one wrong merge in a
    million new levels; its only effect is that a level has another level's score until it is replayed.
    """
    words = jnp.concatenate([_words(leaf) for leaf in jax.tree.leaves(level)])
    position = jnp.arange(1, words.size + 1, dtype=jnp.uint32)
    return _mix(jnp.uint32(words.size) + _mix(words ^ _mix(position)).sum(dtype=jnp.uint32))


def _words(leaf: Array) -> UInt32[Array, " W"]:
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        return leaf.reshape(-1).astype(jnp.uint32)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        leaf = jnp.where(leaf == 0, jnp.zeros_like(leaf), leaf)
    words = jax.lax.bitcast_convert_type(leaf, _WORDS[leaf.dtype.itemsize])
    return words.reshape(-1).astype(jnp.uint32)


def _mix(x: UInt32[Array, "*w"]) -> UInt32[Array, "*w"]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
