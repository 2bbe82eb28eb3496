"""The benchmarks measure what they say; how fast things are is nobody's business here."""

import math
import time

import jax
import jax.extend
import jax.numpy as jnp
import pytest

from experiments.benchmark import in_context, learned, optimizers, search
from experiments.benchmark.__main__ import in_context_table, learned_tables, optimizer_rows, search_text
from experiments.learned_optimizer.config import MetaConfig, RuleConfig, StudyConfig, TrainingConfig
from lopt.incontext import Transformer


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


def products(jaxpr):
    """Multiplications and additions in the products of a program."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        inner = [x for x in equation.params.values() if isinstance(x, jax.extend.core.ClosedJaxpr)]
        total += sum(products(closed.jaxpr) for closed in inner)
    return total


def test_the_products_of_an_in_context_step_are_counted():
    model = Transformer(3, 2, 4, 5, width=8, layers=2, heads=2, key_size=3)
    theta = jax.eval_shape(model.init, jax.random.key(0))
    shapes = [jax.ShapeDtypeStruct((6, 5, width), jnp.float32) for width in (3, 2)]
    forward = jax.make_jaxpr(jax.vmap(model.apply, (None, 0, 0)))(theta, *shapes)
    assert products(forward.jaxpr) == in_context.step_flops(model, 5, 6) / 3


def test_contenders_take_turns(monkeypatch):
    seen, clock = [], iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    times = in_context.in_turn({name: lambda name=name: seen.append(name) for name in "ab"}, 2)
    assert seen == list("abbaabba") and times == {"a": [1, 1], "b": [1, 1]}
    sizes = dict.fromkeys(("width", "layers", "length", "batch", "threads"), 1)
    rows = in_context_table([sizes | {"sequences_per_second": 100.0, "over_floor": 2.0, "task_part": 0.05}])
    assert rows.splitlines()[2].split("|")[6:9] == [" 100 ", " 2 ", " 0.05 "]
