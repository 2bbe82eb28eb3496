"""The benchmarks count and time what they should; speed itself is not tested."""

import math
import time

import jax
import jax.extend
import jax.numpy as jnp
import pytest

from experiments.benchmark import deployment, in_context, learned, optimizers, search
from experiments.benchmark.__main__ import in_context_table, learned_tables, optimizer_rows, search_text
from experiments.benchmark.timing import in_turn
from experiments.optimizer.config import MetaConfig, RuleConfig, StudyConfig, TrainingConfig
from lopt.incontext import Transformer


@pytest.fixture
def unit_timer(monkeypatch):
    """A timer in which each interval between two successive readings is one second."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))


def test_advance_makes_the_given_number_of_steps():
    inputs = []

    def step(x, increment):
        jax.debug.callback(inputs.append, x)
        return x + increment

    advance = optimizers.advancing(step, jnp.zeros(()), jnp.ones(()))
    advance(4)
    jax.effects_barrier()
    assert sorted(map(float, inputs)) == [0, 1, 2, 3, 4]  # one step is made before `advance` is called


def test_passes_transfer_as_many_bytes_as_an_optimizer_step():
    transferred = sum(2 * leaf.nbytes for leaf in optimizers.leaves(1000 * optimizers.BYTES // 8, 0.0))
    assert transferred == 1000 * optimizers.BYTES


def test_times_and_rows(unit_timer):
    figures = optimizers.times(100, 2)
    assert set(figures["seconds"]) == {"lopt.lion", "optax.lion", "read and write"}
    assert figures["ratio"] == 1 and set(figures["seconds"].values()) == {1}
    rows = optimizer_rows({"100": figures | {"peak_gib": {"lopt.lion": 0.5, "optax.lion": 0.5}}})
    assert [row[1] for row in rows] == ["lopt.lion", "optax.lion", "read and write"]
    assert rows[0] == ("1e+02", "lopt.lion", 1000, "1.000 (1.000 to 1.000)", 1.0, 0.5)


def test_learned_steps_and_meta_training_are_counted(monkeypatch, unit_timer):
    monkeypatch.setattr(learned, "RULES", {name: learned.RULES[name] for name in ("adam", "sgd")})
    monkeypatch.setattr(deployment, "NAMES", (deployment.ADAM,))
    steps = learned.steps(100, 2)
    assert set(steps["ratio"]) == {learned.ADAM, "adam", "sgd"} and set(steps["ratio"].values()) == {1}
    meta = MetaConfig(num_steps=20, num_lifetimes=2, num_updates=3)
    config = StudyConfig(training=TrainingConfig("quadratic"), meta=meta, rule=RuleConfig("adam"))
    monkeypatch.setattr(learned, "StudyConfig", lambda: config)
    figures = learned.training("pes", 2)  # each timing is one second
    assert figures["inner_steps_per_second"] == figures["adam_steps_per_second"] == 2 * 2 * 3
    measured = {"steps": steps, "training": [figures], "deployed": [deployment.costs(1000, 2)]}
    assert [line.count("|") for line in learned_tables(measured).splitlines()]


def test_costs_in_deployment_are_per_parameter(unit_timer):
    figures = deployment.costs(10_000, 2)
    assert figures["parameters"] == 4 * 50 * 51
    assert set(figures["ratio"]) == {*deployment.NAMES} and set(figures["ratio"].values()) == {1}
    temporaries = figures["temporary_bytes"]
    assert temporaries[deployment.ADAM] < temporaries["normalised"] < temporaries["adafactor_mlp"]
    assert "seconds" not in deployment.costs(100, 0)


def test_layers_have_about_that_many_parameters():
    assert abs(sum(x.size for x in jax.tree.leaves(learned.layers(100_000, 1.0))) - 100_000) < 5_000


@pytest.mark.slow  # each method compiles
def test_programs_are_evaluated_by_each_method():
    wine, programs = search.Proxy.of_task(search.TASKS["wine"](), 2), search.candidates(3)
    assert len({search.canonical_hash(p) for p in programs}) == 3
    search.eager(wine, programs[:1])
    search.compiling(wine, programs[:1])
    rates = {name: 1.0 for name in (search.INTERPRETER, search.GRADIENTS, search.COMPILATION, search.NUMPY)}
    data = search.mutations(5) | {"per_second": rates, "task": "wine", "parameters": 3, "steps": 2}
    assert "speedup of the interpreter" in search_text(data | {"statements": 3.0, "first_seconds": 1.0})


def products(jaxpr):
    """Floating-point operations in the matrix products of a jaxpr."""
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
    model = Transformer(inputs=3, targets=2, outputs=4, positions=5, width=8, layers=2, heads=2, key_size=3)
    theta = jax.eval_shape(model.init, jax.random.key(0))
    shapes = [jax.ShapeDtypeStruct((6, 5, width), jnp.float32) for width in (3, 2)]
    forward = jax.make_jaxpr(jax.vmap(model.apply, (None, 0, 0)))(theta, *shapes)
    assert products(forward.jaxpr) == in_context.step_flops(model, 5, 6) / 3


def test_functions_are_timed_in_turns(unit_timer):
    calls = []
    times = in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 2, warm_up=2)
    assert calls == list("abbaabba") and times == {"a": [1, 1], "b": [1, 1]}
    sizes = dict.fromkeys(("width", "layers", "length", "batch", "threads"), 1)
    figures = {"sequences_per_second": 100.0, "over_floor": 2.0, "task_sampling_fraction": 0.05}
    rows = in_context_table([sizes | figures])
    assert rows.splitlines()[2].split("|")[6:9] == [" 100 ", " 2 ", " 0.05 "]
