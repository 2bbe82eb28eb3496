"""The compilation cache: its folder, and its use by a second process."""

import os
import subprocess
import sys

import jax
import pytest

from lopt.training.compiling import enable_compilation_cache

CODE = """
import jax, jax.monitoring, jax.numpy as jnp
from lopt.training.compiling import enable_compilation_cache
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
print(enable_compilation_cache())
jax.jit(lambda x: jnp.sin(x) * 3.0 + 41.5)(jnp.ones(7)).block_until_ready()
print(len(hits))
"""


def test_second_process_compiles_nothing(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}
    outs = []
    for _ in range(2):
        command = [sys.executable, "-c", CODE]
        outs.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())
    assert outs[0] == [str(tmp_path / "xla"), "0"]
    assert int(outs[1][1]) > 0


def test_default_folder_and_unwritable(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert enable_compilation_cache() == tmp_path / ".cache" / "lopt" / "xla"
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "xla"))
        with pytest.raises(ValueError, match="cannot make .*--no-cache"):
            enable_compilation_cache()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
