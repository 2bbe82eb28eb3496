"""JAX's persistent compilation cache."""

import os
from pathlib import Path

import jax


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
