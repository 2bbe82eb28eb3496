"""JAX made strict and quick for the tests: CPU, no rank promotion, executed shape annotations, compilation cache, and
memory that does not grow with the number of test files."""

import ctypes
import gc
import os
import resource
import sys
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


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Compiled programs are dropped after a module once they have grown large: a laptop of 8 GiB runs the suite."""
    yield
    if resident() > DROP_PROGRAMS_ABOVE:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            # glibc keeps freed memory to itself
            ctypes.CDLL(None).malloc_trim(0)


DROP_PROGRAMS_ABOVE = 1.2 * 2**30


def resident() -> int:
    """Bytes of memory that this process has now; where that is not known, the most it ever had."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return peak()


def peak() -> int:
    """Bytes of memory that this process ever had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


PEAKS: list[int] = []
"""Of the test processes that have ended."""


def pytest_sessionfinish(session):
    """A worker of pytest-xdist tells its peak to the process that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        PEAKS.append(peak())
    else:
        output["peak"] = peak()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """The peak of a worker."""
    PEAKS.append(getattr(node, "workeroutput", {}).get("peak", 0))


def pytest_terminal_summary(terminalreporter):
    """The memory of the largest test process."""
    terminalreporter.write_line(f"peak memory of a test process: {max(PEAKS, default=peak()) / 2**30:.2f} GiB")


@pytest.fixture
def key() -> jax.Array:
    """A typed key."""
    return jax.random.key(0)
