"""LLVM's optimisation level, and the context without the garbage collector."""

import gc

import jax.numpy as jnp
import pytest

from lopt.training import compiling


def test_xla_flags_take_precedence(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert compiling.optimisation_level(0) == {}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(compiling.jax, "default_backend", lambda: "cpu")
    assert compiling.optimisation_level(1) == {"xla_backend_optimization_level": 1}
    assert compiling.jit_once(lambda x: 2 * x)(jnp.float32(3)) == 6
    monkeypatch.setattr(compiling.jax, "default_backend", lambda: "gpu")
    assert compiling.optimisation_level(1) == {}


def test_the_garbage_collector_is_enabled_again_after_an_error():
    assert gc.isenabled()
    with pytest.raises(KeyError), compiling.no_garbage_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
