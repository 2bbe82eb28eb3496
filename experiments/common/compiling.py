"""How programs are traced and compiled, and how much the compiler should optimise.

Most of a study's start is LLVM at work. On a CPU its full effort buys nothing here: the products are library calls, and
the loops around them are as fast at level 1, which takes a quarter less time.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

FLAG = "xla_backend_optimization_level"


def effort(level: int) -> dict[str, Any]:
    """Compiler options for LLVM's optimisation level 0 to 3; none where XLA_FLAGS sets it, or off the CPU."""
    if FLAG in os.environ.get("XLA_FLAGS", "") or jax.default_backend() != "cpu":
        return {}
    return {FLAG: level}


def often(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit(function, **options)` for a function that is called again and again."""
    return jax.jit(function, compiler_options=effort(1), **options)


def once(function: Callable[..., Any]) -> Any:
    """`jax.jit(function)` for a single call: the compiler does not optimise, which is where its time goes."""
    return jax.jit(function, compiler_options=effort(0))


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's garbage collector: its passes over a growing program are a fifth of the time to trace it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
