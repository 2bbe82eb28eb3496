"""PRNG keys without a compilation for every shape."""

import jax
import numpy as np


def make_keys(seed, *shape):
    """An array of independent typed keys, `[*shape]`."""
    words = np.random.default_rng(seed).integers(2**32, size=(*shape, 2), dtype=np.uint32)
    return jax.random.wrap_key_data(jax.numpy.asarray(words))
