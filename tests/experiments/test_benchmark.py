"""The benchmark of the optimizers measures what it says; how fast they are is nobody's business here."""

import time

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import optimizers, search
from experiments.benchmark.__main__ import optimizer_rows, search_text


def test_a_contender_takes_its_steps_in_place():
    seen = []

    def step(x, by):
        jax.debug.callback(seen.append, x)
        return x + by

    advance = optimizers.advancing(step, jnp.zeros(()), jnp.ones(()))
    advance(4)
    jax.effects_barrier()
    assert sorted(map(float, seen)) == [0, 1, 2, 3, 4]  # the first was taken in the making


def test_every_contender_moves_as_many_bytes():
    moved = sum(2 * leaf.nbytes for leaf in optimizers.leaves(1000 * optimizers.BYTES // 8, 0.0))
    assert moved == 1000 * optimizers.BYTES


def test_times_and_rows(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    found = optimizers.times(100, 2)
    assert set(found["seconds"]) == {"lopt.lion", "optax.lion", "read and write"}
    assert found["ratio"] == 1 and set(found["seconds"].values()) == {1}
    rows = optimizer_rows({"100": found | {"peak_gib": {"lopt.lion": 0.5, "optax.lion": 0.5}}})
    assert [row[1] for row in rows] == ["lopt.lion", "optax.lion", "read and write"]
    assert rows[0] == ("1e+02", "lopt.lion", 1000, "1.000 (1.000 to 1.000)", 1.0, 0.5)


@pytest.mark.slow  # each way compiles
def test_programs_are_tried_in_every_way():
    wine, programs = search.proxy(search.TASKS["wine"](), 2), search.candidates(3)
    assert len({search.canonical_hash(p) for p in programs}) == 3
    search.eager(wine, programs[:1])
    search.compiling(wine, programs[:1])
    told = {name: 1.0 for name in ("interpreter", "gradients alone", "compiling each", "eager, in numpy")}
    data = search.mutations(5) | {"per_second": told, "task": "wine", "parameters": 3, "steps": 2}
    assert "the interpreter is x" in search_text(data | {"statements": 3.0, "first_seconds": 1.0})
