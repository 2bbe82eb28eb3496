"""A buffer of C scored levels in arrays of fixed shape, and the two ways a finished lifetime writes to it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from lopt import tree
from lopt.curriculum.fingerprint import fingerprint
from lopt.types import NEW, Level

EMPTY = 0
SCORED = 1
ACTIVE = 2
"""Status of a slot: it holds nothing, a scored level that waits, a scored level that a lifetime plays."""


class Buffer(struct.PyTreeNode):
    """C slots. Only scored levels are in it: one that is played for the first time is in the assignment.

    `clock` counts the lifetimes that have ended, `last_seen` is its value when the slot's level was last
    played to the end, and `replayed` the share of replays when lifetimes last ended.
    """

    levels: Level
    score: Float[Array, "*s C"]
    last_seen: Int[Array, "*s C"]
    fingerprint: UInt32[Array, "*s C"]
    status: Int[Array, "*s C"]
    clock: Int[Array, "*s"]
    replayed: Float[Array, "*s"]


class Extremes(NamedTuple):
    """The k highest scored levels, highest first, and the k lowest, lowest first; only `valid` rows count."""

    levels_high: Level
    scores_high: Float[Array, " k"]
    levels_low: Level
    scores_low: Float[Array, " k"]
    valid: Bool[Array, " k"]


def empty(level: Level, capacity: int) -> Buffer:
    """An empty buffer for levels like `level`, copies of which fill it so that no row is ill-formed."""
    return Buffer(
        levels=jax.tree.map(lambda x: jnp.broadcast_to(x, (capacity, *x.shape)), level),
        score=jnp.full((capacity,), -jnp.inf, jnp.float32),
        last_seen=jnp.zeros((capacity,), jnp.int32),
        fingerprint=jnp.zeros((capacity,), jnp.uint32),
        status=jnp.full((capacity,), EMPTY, jnp.int32),
        clock=jnp.zeros((), jnp.int32),
        replayed=jnp.zeros((), jnp.float32),
    )


def release(buffer: Buffer, slot: Int[Array, " N"], scores: Float[Array, " N"], finished: Bool[Array, " N"]) -> Buffer:
    """The slots of finished lifetimes wait again, with the new score if one was measured.

    A slot that no lifetime holds any more (its lane was relabelled from outside) waits again, too.
    """
    capacity = buffer.status.shape[0]
    held = jnp.zeros((capacity,), bool).at[_only(slot >= 0, slot, capacity)].set(True, mode="drop")
    status = jnp.where((buffer.status == ACTIVE) & ~held, SCORED, buffer.status)
    freed = finished & (slot >= 0)
    index = _only(freed, slot, capacity)
    measured = _only(freed & jnp.isfinite(scores), slot, capacity)
    return buffer.replace(
        score=buffer.score.at[measured].set(scores, mode="drop"),
        last_seen=buffer.last_seen.at[index].set(buffer.clock, mode="drop"),
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
    """Enters the levels that were played for the first time and measured, if they are worth a slot.

    With `dedupe`, of several lanes with one level the last one speaks, and a level the buffer knows updates
    the score of its slot. The others take the empty slots first, and then, highest against lowest, the
    slots of waiting levels with a strictly lower score: what is left is the best of both, and a slot in
    play is never taken.
    """
    capacity, num = buffer.status.shape[0], slot.shape[0]
    candidate = finished & (slot == NEW) & jnp.isfinite(scores)
    code = jax.vmap(fingerprint)(levels)
    if dedupe:
        lane = jnp.arange(num)
        later = lane[None, :] > lane[:, None]
        candidate &= ~((code[:, None] == code[None, :]) & candidate[None, :] & later).any(axis=1)
        match = (code[:, None] == buffer.fingerprint[None, :]) & (buffer.status != EMPTY)[None, :]
        known = _only(candidate & match.any(axis=1), match.argmax(axis=1), capacity)
        candidate &= known == capacity
        buffer = buffer.replace(
            score=buffer.score.at[known].set(scores, mode="drop"),
            last_seen=buffer.last_seen.at[known].set(buffer.clock, mode="drop"),
        )
    order = jnp.argsort(jnp.where(candidate, -scores, jnp.inf), stable=True)
    victim, threshold = _victims(buffer, num)
    index = _only(candidate[order] & (scores[order] > threshold), victim, capacity)

    def put(slots: Any, rows: Any) -> Any:
        return slots.at[index].set(rows[order], mode="drop")

    return buffer.replace(
        levels=jax.tree.map(put, buffer.levels, levels),
        score=put(buffer.score, scores),
        last_seen=buffer.last_seen.at[index].set(buffer.clock, mode="drop"),
        fingerprint=put(buffer.fingerprint, code),
        status=buffer.status.at[index].set(SCORED, mode="drop"),
    )


def extremes(buffer: Buffer, k: int) -> Extremes:
    """The k highest and k lowest scored levels of a buffer, to look at."""
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
    """The slots to give up first, and the score to beat for each: -inf if empty, +inf if in play."""
    threshold = jnp.where(buffer.status == ACTIVE, jnp.inf, buffer.score)
    threshold = jnp.where(buffer.status == EMPTY, -jnp.inf, threshold)
    value, victim = jax.lax.top_k(-threshold, num)
    return victim, -value


def _only(mask: Bool[Array, " N"], index: Int[Array, " N"], capacity: int) -> Int[Array, " N"]:
    """`index` where `mask`, else one past the end, which a scatter drops."""
    return jnp.where(mask, index, capacity)
