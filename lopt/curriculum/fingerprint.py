"""A 32-bit fingerprint of a level, by which duplicates are found without comparing all their bytes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

from lopt.types import Level

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
