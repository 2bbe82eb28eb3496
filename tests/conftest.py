"""JAX made strict and quick for the tests: CPU, no rank promotion, executed shape annotations, compilation cache."""

import os
from pathlib import Path

# before jax is imported, and inherited by the processes that tests start
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "lopt" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")
# the tests compile much and run little: unoptimised code halves their time (`make test-all` sets it empty)
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest

from tests import typecheck

jax.config.update("jax_numpy_rank_promotion", "raise")
typecheck.install()


@pytest.fixture
def key() -> jax.Array:
    """A typed key."""
    return jax.random.key(0)
