"""The 16-bit floating-point types that this processor supports."""

import jax
import jax.numpy as jnp
import pytest


def _runs(dtype: str) -> bool:
    """Whether XLA compiles operations of this type; it has no float16 on processors without F16C."""
    try:
        jax.jit(lambda x: 1.5 * x + x)(jnp.ones(2, dtype)).block_until_ready()
    except jax.errors.JaxRuntimeError:
        return False
    return True


HALVES = [
    "bfloat16",
    pytest.param("float16", marks=pytest.mark.skipif(not _runs("float16"), reason="no float16 on this processor")),
]
