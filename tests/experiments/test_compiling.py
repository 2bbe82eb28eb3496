"""Compiler effort, and the garbage collector's rest."""

import gc

import jax.numpy as jnp
import pytest

from experiments.common import compiling


def test_the_users_flag_goes_before_ours(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert compiling.effort(0) == {}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(compiling.jax, "default_backend", lambda: "cpu")
    assert compiling.effort(1) == {"xla_backend_optimization_level": 1}
    assert compiling.once(lambda x: 2 * x)(jnp.float32(3)) == 6
    monkeypatch.setattr(compiling.jax, "default_backend", lambda: "gpu")
    assert compiling.effort(1) == {}


def test_the_collector_comes_back_after_an_error():
    assert gc.isenabled()
    with pytest.raises(KeyError), compiling.uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
