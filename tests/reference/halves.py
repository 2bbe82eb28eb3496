"""The narrow floating-point types, as far as this processor has them."""

import jax
import jax.numpy as jnp
import pytest


def _runs(dtype: str) -> bool:
    """Whether XLA can compile for it: for processors without F16C its compiler has no float16."""
    try:
        jax.jit(lambda x: 1.5 * x + x)(jnp.ones(2, dtype)).block_until_ready()
    except jax.errors.JaxRuntimeError:
        return False
    return True


HALVES = [
    "bfloat16",
    pytest.param("float16", marks=pytest.mark.skipif(not _runs("float16"), reason="no float16 on this processor")),
]
