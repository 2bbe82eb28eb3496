"""Fingerprints of levels: equal for equal levels, different otherwise, uniformly distributed."""

import jax
import jax.numpy as jnp
import numpy as np

from lopt.curriculum.buffer import fingerprint
from lopt.types import Level


def level(**changes):
    params = {
        "walls": jnp.zeros((3, 4), bool),
        "small": jnp.arange(4, dtype=jnp.int8),
        "half": jnp.linspace(0, 1, 3, dtype=jnp.bfloat16),
        "reward": jnp.array([0.0, 1.0, -1.0]),
        "seed": jax.random.key(0),
    }
    num_updates = changes.pop("num_updates", 10)
    return Level(params=params | changes, num_updates=jnp.int32(num_updates))


def test_the_fingerprint_depends_on_every_leaf_of_a_level():
    variants = [
        level(),
        level(num_updates=11),
        level(walls=jnp.zeros((3, 4), bool).at[1, 2].set(True)),
        level(walls=jnp.zeros((3, 4), bool).at[2, 1].set(True)),
        level(small=jnp.array([1, 0, 2, 3], jnp.int8)),
        level(half=jnp.linspace(0, 1.01, 3, dtype=jnp.bfloat16)),
        level(reward=jnp.array([0.0, -1.0, 1.0])),
        level(reward=jnp.array([1e-30, 1.0, -1.0])),
        level(seed=jax.random.key(1)),
    ]
    codes = [int(fingerprint(v)) for v in variants]
    assert len(set(codes)) == len(variants)
    assert codes[0] == int(fingerprint(level()))
    assert codes[0] == int(fingerprint(level(reward=jnp.array([-0.0, 1.0, -1.0]))))


def test_collisions_are_as_rare_as_those_of_a_random_function():
    # 60,000 levels that differ in few bits: 0.42 collisions expected, 5 or more with probability 1e-4
    ids = jnp.arange(60_000)
    codes = jax.vmap(lambda i: fingerprint(Level(params={"x": i % 256, "y": i // 256}, num_updates=jnp.int32(5))))(ids)
    codes = np.asarray(codes)
    assert codes.dtype == np.uint32
    assert len(codes) - len(np.unique(codes)) < 5
    bit_frequency = np.unpackbits(codes.view(np.uint8)).reshape(len(codes), 32).mean(axis=0)
    np.testing.assert_allclose(bit_frequency, 0.5, atol=0.01)
