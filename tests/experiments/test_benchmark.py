"""The benchmark of the optimizers measures what it says; how fast they are is nobody's business here."""

import time

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import learned, optimizers, search
from experiments.benchmark.__main__ import learned_tables, optimizer_rows, search_text
from experiments.learned_optimizer.config import MetaConfig, RuleConfig, StudyConfig, TrainingConfig


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


def test_learned_steps_and_meta_training_are_counted(monkeypatch):
    monkeypatch.setattr(learned, "RULES", {name: learned.RULES[name] for name in ("adam", "sgd")})
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    steps = learned.steps(100, 2)
    assert set(steps["ratio"]) == {"adam (optax)", "adam", "sgd"} and set(steps["ratio"].values()) == {1}
    meta = MetaConfig(num_steps=20, num_lifetimes=2, num_updates=3)
    config = StudyConfig(training=TrainingConfig("quadratic"), meta=meta, rule=RuleConfig("adam"))
    monkeypatch.setattr(learned, "StudyConfig", lambda: config)
    found = learned.training("pes", 2)  # every timing is one second
    assert found["inner_steps_per_second"] == found["adam_steps_per_second"] == 2 * 2 * 3
    assert [line.count("|") for line in learned_tables({"steps": steps, "training": [found]}).splitlines()]


def test_layers_have_about_that_many_parameters():
    assert abs(sum(x.size for x in jax.tree.leaves(learned.layers(100_000, 1.0))) - 100_000) < 5_000


@pytest.mark.slow  # each way compiles
def test_programs_are_tried_in_every_way():
    wine, programs = search.proxy(search.TASKS["wine"](), 2), search.candidates(3)
    assert len({search.canonical_hash(p) for p in programs}) == 3
    search.eager(wine, programs[:1])
    search.compiling(wine, programs[:1])
    told = {name: 1.0 for name in ("interpreter", "gradients alone", "compiling each", "eager, in numpy")}
    data = search.mutations(5) | {"per_second": told, "task": "wine", "parameters": 3, "steps": 2}
    assert "the interpreter is x" in search_text(data | {"statements": 3.0, "first_seconds": 1.0})
