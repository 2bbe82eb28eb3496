"""A few uniform random numbers from one key, at low cost."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from lopt.types import Key

_WEYL = 0x9E3779B9  # 2^32 / golden ratio: counters spread over all bits


def uniforms(key: Key, num: int) -> tuple[Float[Array, ""], ...]:
    """`num` numbers uniform on [0, 1) in steps of 2^-24, as separate scalars.

    The key already is 64 bits of a strong generator's output, so a few numbers per step are hashes of it with a
    counter: `u_i = mix(mix(w_0 + i * weyl) ^ w_1) / 2^32`, with `mix` a 32-bit finaliser (two multiplications, three
    xor-shifts; lowbias32). All of it fuses into the step that uses it. `jax.random.uniform` on one key per environment
    costs about 40 ns a number on a CPU, several times the rest of a grid-world step.

    Consume the key with this function only: mixing and `jax.random` are different streams of the same key.
    """
    words = jax.random.key_data(key).reshape(-1)
    return tuple(
        (_mix(_mix(words[0] + np.uint32(i * _WEYL % 2**32)) ^ words[-1]) >> 8).astype(jnp.float32) * np.float32(2**-24)
        for i in range(num)
    )


def _mix(x: UInt32[Array, ""]) -> UInt32[Array, ""]:
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
