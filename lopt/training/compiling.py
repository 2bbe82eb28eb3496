"""Options of tracing and compilation: LLVM's optimisation level, and the garbage collector.

LLVM takes most of the start of a study. On a CPU its highest level gives no speed here: matrix products are library
calls, and the loops around them are as fast at level 1, which compiles in three quarters of the time.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

FLAG = "xla_backend_optimization_level"


def optimisation_level(level: int) -> dict[str, Any]:
    """Compiler options for LLVM's optimisation level 0 to 3; empty if XLA_FLAGS sets it, or not on a CPU."""
    if FLAG in os.environ.get("XLA_FLAGS", "") or jax.default_backend() != "cpu":
        return {}
    return {FLAG: level}


def jit_repeated(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit(function, **options)` at optimisation level 1, for a function that is called many times."""
    return jax.jit(function, compiler_options=optimisation_level(1), **options)


def jit_once(function: Callable[..., Any]) -> Any:
    """`jax.jit(function)` at optimisation level 0, for a function that is called once: it compiles faster."""
    return jax.jit(function, compiler_options=optimisation_level(0))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Context without Python's garbage collector, which takes a fifth of the time to trace a large program."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def enable_compilation_cache() -> Path:
    """Turn on JAX's persistent compilation cache for this process and return its folder.

    The folder is `JAX_COMPILATION_CACHE_DIR` where that is set, else `~/.cache/lopt/xla`. Every program is cached,
    whatever its size and compile time. The cache holds executable code, so it must not be shared between users.

    Raises:
        ValueError: the folder cannot be created.
    """
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or Path.home() / ".cache" / "lopt" / "xla")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"compilation cache: cannot make {folder} ({error.strerror}); set JAX_COMPILATION_CACHE_DIR to "
            "a folder you may write, or switch the cache off with --no-cache"
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
