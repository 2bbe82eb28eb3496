"""Supervised tasks: their contract, their closed forms, and lifetimes on them."""

import functools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs import LogUniform
from lopt import optimizers as lo
from lopt import tasks
from lopt.protocols import Task
from lopt.tasks import (
    ConvNet,
    DatasetTask,
    LanguageTask,
    Perceptron,
    PowerLossWeight,
    Quadratic,
    RandomSchedule,
    Recurrent,
    Rescaled,
    Rosenbrock,
    SupervisedLifetime,
    Transformer,
    Variations,
    apply_with_dormancy,
    cross_entropy,
    squared_error,
)
from tests.reference import keys
from tests.reference.supervised import classification, levels, spots
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)
V = tasks.VOCABULARY
TEXT = np.random.default_rng(0).integers(0, V, 200).astype(np.int32)
TASKS = {
    "perceptron": classification,
    "convolutions": lambda: DatasetTask(
        data=tasks.digits(), net=ConvNet((2,), 10), criterion=cross_entropy, batch_size=2
    ),
    "autoencoder": lambda: DatasetTask(
        data=spots().autoencoding(), net=Perceptron((2,), 4), criterion=squared_error, batch_size=2
    ),
    "transformer": lambda: LanguageTask(tokens=TEXT, net=Transformer(V, 4, 1, 2), batch_size=2, length=5),
    "recurrent": lambda: LanguageTask(tokens=TEXT, net=Recurrent(V, 4), batch_size=2, length=5),
    "quadratic": lambda: Quadratic(dimensions=4, noise=0.5),
    "Rosenbrock": lambda: Rosenbrock(3, noise=0.5),
    "scheduled": lambda: RandomSchedule(task=classification(), smallest=0.1, largest=1.0),
    "rescaled": lambda: Rescaled(task=classification(), smallest=0.1, largest=10.0),
}
SLOW = ("recurrent", "convolutions", "transformer")  # compilation is slow
for_tasks = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TASKS]
)


@functools.cache
def evaluated(name):
    """Initial parameters, a training and a held-out batch, and losses and gradient on them."""
    task = TASKS[name]()

    @jax.jit
    def run(key):
        key_variation, key_init, key_batch = jax.random.split(key, 3)
        variation = task.sample(key_variation)
        params = task.init(key_init, variation)
        batches = [task.batch(key_batch, variation, held_out=held_out) for held_out in (False, True)]
        (loss, (metrics, extra_args)), grads = jax.value_and_grad(
            lambda p: task.loss(variation, p, batches[0]), has_aux=True
        )(params)
        return {
            "params": params,
            "batches": batches,
            "loss": loss,
            "metrics": metrics,
            "extra_args": extra_args,
            "grads": grads,
            "held out": task.loss(variation, params, batches[1])[0],
        }

    return SimpleNamespace(task=task, run=run, first=run(KEY))


@for_tasks
def test_task_contract(name):
    case, first = evaluated(name), evaluated(name).first
    assert isinstance(case.task, Task) and isinstance(hash(case.task), int)
    chex.assert_shape(first["loss"], ())
    chex.assert_tree_all_finite((first["loss"], first["held out"], first["grads"]))
    assert all(np.asarray(g).any() for g in jax.tree.leaves(first["grads"]) if g.size > 1)
    assert all(x.shape == () for x in jax.tree.leaves(first["metrics"]))
    chex.assert_trees_all_equal(case.run(KEY), first)
    other = case.run(jax.random.key(1))
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*map(_weights, (other, first)), strict=True))
    assert other["loss"] != first["loss"] and first["held out"] != first["loss"]
    if "dormancy" in first["extra_args"]:
        chex.assert_trees_all_equal_structs(first["extra_args"]["dormancy"], first["params"])
        jax.tree.map(lambda d, p: np.broadcast_to(d, p.shape), first["extra_args"]["dormancy"], first["params"])


def _weights(result):
    """All parameters but biases and scales, whose initial values do not depend on the key."""
    return [x for x in jax.tree.leaves(result["params"]) if x.ndim > 1 or "x" in result["params"]]


@for_tasks
def test_no_key_is_used_twice(name, monkeypatch):
    task = TASKS[name]()
    variation = jax.jit(task.sample)(KEY)
    keys.trace(monkeypatch, task.sample, KEY)
    keys.trace(monkeypatch, task.init, KEY, variation)
    keys.trace(monkeypatch, functools.partial(task.batch, held_out=False), KEY, variation)


def test_initial_loss_is_about_that_of_a_uniform_prediction():
    assert abs(float(evaluated("perceptron").first["loss"]) - np.log(3)) < 1


def test_batches_are_training_or_held_out_examples():
    task, data = TASKS["perceptron"](), spots()
    for held_out, part in ((False, data.train), (True, data.held_out)):
        inputs, targets = jax.jit(functools.partial(task.batch, held_out=held_out))(KEY, ())
        for x, y in zip(np.asarray(inputs), np.asarray(targets), strict=True):
            (index,) = np.flatnonzero((part.inputs == x).all(1))
            assert part.targets[index] == y


def test_training_text_does_not_overlap_held_out_text():
    task = LanguageTask(tokens=np.arange(200), net=Recurrent(200, 4), batch_size=64, length=5)
    draw = jax.jit(task.batch, static_argnames="held_out")
    for held_out, low, high in ((False, 0, 179), (True, 180, 199)):
        tokens = np.asarray(draw(KEY, (), held_out=held_out))
        assert tokens.shape == (64, 6) and (np.diff(tokens) == 1).all()
        assert tokens.min() >= low and tokens.max() <= high
    assert {*np.asarray(draw(KEY, (), held_out=True))[:, 0]} == set(range(180, 195))


def test_transformer_is_causal():
    net = Transformer(V, 4, 1, 2)
    tokens = jnp.array(TEXT[None, :6])

    @jax.jit
    def both(tokens):
        params = net.init(KEY, tokens)["params"]
        return net.apply({"params": params}, tokens), net.apply({"params": params}, tokens.at[0, 4].add(1))

    one, other = both(tokens)
    np.testing.assert_allclose(one[0, :4], other[0, :4], atol=1e-6)
    assert (np.abs(one[0, 4] - other[0, 4]) > 1e-6).any()


def test_dormancy_is_activity_relative_to_the_mean_of_the_layer():
    net, x = Perceptron((3,), 2), jnp.array(spots().train.inputs[:6])
    params = jax.jit(net.init)(KEY, x)["params"]
    params["Dense_0"]["bias"] = jnp.array([0.0, -100.0, 1.0])  # the second neuron is dormant
    out, dormancy = jax.jit(lambda p: apply_with_dormancy(net, p, x))(params)
    hidden = np.maximum(np.asarray(x) @ np.asarray(params["Dense_0"]["kernel"]) + [0, -100, 1], 0).mean(0)
    np.testing.assert_allclose(dormancy["Dense_0"]["kernel"], (hidden / hidden.mean())[None], rtol=1e-4)
    np.testing.assert_allclose(dormancy["Dense_0"]["bias"], hidden / hidden.mean(), rtol=1e-4)
    assert dormancy["Dense_0"]["bias"][1] == 0
    of_output = np.abs(out).mean(0)
    np.testing.assert_allclose(dormancy["Dense_1"]["bias"], of_output / of_output.mean(), rtol=1e-4)


def test_quadratic_has_the_specified_spectrum():
    task = Quadratic(dimensions=4, condition=1000.0, largest=2.0)
    quadratic = jax.jit(task.sample)(KEY)
    loss = jax.jit(lambda x: task.loss(quadratic, {"x": x}, jnp.zeros(4))[0])
    hessian = jax.jit(jax.hessian(loss))(jnp.zeros(4))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [0.002, 0.02, 0.2, 2.0], rtol=1e-2)
    assert loss(quadratic.minimum) == 0
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(quadratic.minimum), np.zeros(4), atol=1e-6)


def test_rosenbrock_values():
    task, batch = Rosenbrock(2), jnp.zeros(2)
    for x, expected in (([1.0, 1.0], 0.0), ([0.0, 0.0], 1.0), ([-1.0, 2.0], 104.0)):
        assert task.loss((), {"x": jnp.array(x)}, batch)[0] == expected


@pytest.mark.parametrize(
    "task", [Quadratic(dimensions=3, noise=0.5), Rosenbrock(3, noise=0.5)], ids=["quadratic", "Rosenbrock"]
)
def test_noise_is_the_standard_deviation_of_the_gradient(task):
    @jax.jit
    @jax.vmap
    def gradients(key):
        batch = task.batch(key, variation, held_out=False)
        return jax.grad(lambda x: task.loss(variation, {"x": x}, batch)[0])(x)

    variation, x = jax.jit(task.sample)(KEY), jnp.array([0.3, -0.2, 0.1])
    noisy = np.asarray(gradients(jax.random.split(KEY, 4000)))
    exact = jax.jit(jax.grad(lambda x: task.loss(variation, {"x": x}, jnp.zeros(3))[0]))(x)
    np.testing.assert_allclose(noisy.std(0), 0.5, rtol=0.06)
    assert (np.abs(noisy.mean(0) - exact) < 4 * 0.5 / np.sqrt(4000)).all()
    assert not np.asarray(task.batch(KEY, variation, held_out=True)).any()


def test_rescaled_task_is_a_reparametrisation():
    task = TASKS["rescaled"]()
    variation = jax.jit(task.sample)(KEY)
    factors = np.array([float(x.squeeze()) for x in jax.tree.leaves(variation.scale)])
    assert len(np.unique(factors)) == 4 and (factors >= 0.1).all() and (factors <= 10).all()

    @jax.jit
    def compare(key):
        inner, outer = task.task.init(key, ()), task.init(key, variation)
        batch = task.batch(key, variation, held_out=False)
        inner_loss = jax.value_and_grad(lambda p: task.task.loss((), p, batch)[0])(inner)
        outer_loss = jax.value_and_grad(lambda p: task.loss(variation, p, batch)[0])(outer)
        return inner, outer, inner_loss, outer_loss

    inner, outer, (loss, grads), (rescaled_loss, rescaled_grads) = compare(KEY)
    np.testing.assert_allclose(rescaled_loss, loss, rtol=1e-5)
    chex.assert_trees_all_close(jax.tree.map(jnp.multiply, outer, variation.scale), inner, rtol=1e-5)
    expected = jax.tree.map(jnp.multiply, grads, variation.scale)
    chex.assert_trees_all_close(rescaled_grads, expected, rtol=1e-4, atol=1e-7)


def test_lifetimes_are_log_uniform():
    levels = jax.jit(jax.vmap(Variations(task=Rosenbrock(), num_updates=LogUniform(4, 64))))(
        jax.random.split(KEY, 4000)
    )
    lifetimes = np.asarray(levels.num_updates)
    assert lifetimes.min() == 4 and lifetimes.max() == 64
    counts = np.array([((lifetimes >= a) & (lifetimes < 2 * a)).mean() for a in (4, 8, 16, 32)])
    # rounded to the nearest whole number
    expected = np.diff(np.log([4, 7.5, 15.5, 31.5, 63.5])) / np.log(64 / 4)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected / 4000)).all()


def test_initial_parameters_are_determined_by_the_level():
    lifetime = SupervisedLifetime(task=classification(), optimizer=lo.LearnableSGD())
    two_levels, theta = levels(lifetime, 5, 5), jax.jit(lifetime.optimizer.init)(KEY)
    init = jax.jit(lambda key, level: lifetime.init(key, theta, level).params)
    one, other = (jax.tree.map(lambda x, i=i: x[i], two_levels) for i in (0, 1))
    chex.assert_trees_all_equal(init(KEY, one), init(jax.random.key(5), one))
    assert (init(KEY, one)["Dense_0"]["kernel"] != init(KEY, other)["Dense_0"]["kernel"]).all()


def test_lifetime_is_a_training_run_of_optax():
    """Compared with gradient descent on a quadratic in NumPy."""
    lifetime = SupervisedLifetime(
        task=Quadratic(dimensions=3, condition=10.0), optimizer=lo.FromOptax(lambda _: optax.sgd(0.5))
    )
    level = jax.tree.map(lambda x: x[0], levels(lifetime, 2))

    @jax.jit
    def run(key):
        states = [lifetime.init(key, (), level)]
        for _ in range(3):
            state, info = lifetime.step(key, (), level, states[-1])
            states.append(state)
        return [s.params["x"] for s in states], info.metrics, lifetime.meta_loss(key, (), level, state)[0]

    xs, metrics, loss = run(KEY)
    quadratic = jax.tree.map(np.float64, level.params.task)
    hessian = quadratic.basis.T @ np.diag(quadratic.eigenvalues) @ quadratic.basis
    x = np.float64(xs[0])
    for updated in xs[1:3]:
        x = x - 0.5 * hessian @ (x - quadratic.minimum)
        np.testing.assert_allclose(updated, x, rtol=1e-4)
    np.testing.assert_array_equal(xs[3], xs[2])  # the lifetime has two updates
    np.testing.assert_allclose(loss, 0.5 * (x - quadratic.minimum) @ hessian @ (x - quadratic.minimum), rtol=1e-3)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)


def test_power_loss_weight_multiplies_the_meta_loss():
    task, rule = Rosenbrock(), lo.FromOptax(lambda _: optax.sgd(1.0))
    uniform, power = (
        SupervisedLifetime(task=task, optimizer=rule),
        SupervisedLifetime(task=task, optimizer=rule, weight=PowerLossWeight(2.0)),
    )
    level = jax.tree.map(lambda x: x[0], levels(uniform, 8))
    state = jax.jit(lambda: uniform.init(KEY, (), level).replace(age=jnp.int32(4)))()
    one, weighted = (jax.jit(lifetime.meta_loss)(KEY, (), level, state) for lifetime in (uniform, power))
    np.testing.assert_allclose(weighted[0], one[0] / 4, rtol=1e-6)
    assert_ulps(weighted[2]["learner_loss"], one[0], ulps=10)  # a sum of three positive terms of as many roundings


def test_meta_loss_of_a_diverged_learner_is_the_bound():
    for bound, expected in ((7.0, 7.0), (None, np.nan)):
        lifetime = SupervisedLifetime(task=Rosenbrock(), optimizer=lo.FromOptax(lambda _: optax.sgd(1.0)), bound=bound)
        level = jax.tree.map(lambda x: x[0], levels(lifetime, 9))
        state = jax.eval_shape(lambda lifetime=lifetime, level=level: lifetime.init(KEY, (), level))
        diverged = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan if x.dtype == jnp.float32 else 1, x.dtype), state)
        np.testing.assert_array_equal(lifetime.meta_loss(KEY, (), level, diverged)[0], expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: classification(batch_size=0), "DatasetTask: batch_size must be at least 1"),
        (
            lambda: LanguageTask(tokens=TEXT, net=Recurrent(V), batch_size=0),
            "LanguageTask: batch_size must be at least 1",
        ),
        (
            lambda: LanguageTask(tokens=TEXT, net=Recurrent(V), batch_size=1, length=20),
            r"more than 210 numbers \(got shape \(200,\)\)",
        ),
        (lambda: Quadratic(dimensions=0), "Quadratic: expected dimensions >= 1"),
        (lambda: Quadratic(condition=0.5), "condition >= 1"),
        (lambda: Rosenbrock(1), "Rosenbrock: expected dimensions >= 2"),
        (
            lambda: Rescaled(task=Rosenbrock(), smallest=2.0, largest=1.0),
            r"0 < smallest <= largest \(got 2.0 and 1.0\)",
        ),
        (lambda: Variations(task=Rosenbrock(), num_updates=0), "num_updates must be at least 1"),
        (
            lambda: SupervisedLifetime(task=Rosenbrock(), optimizer=lo.LearnableSGD(), bound=np.inf),
            "bound must be finite",
        ),
    ],
)
def test_invalid_arguments_raise(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_cross_entropy_of_large_equal_logits_is_that_of_a_uniform_prediction():
    labels = jnp.arange(3)
    loss, gradient = jax.value_and_grad(lambda x: cross_entropy(x, labels)[0])(jnp.full((3, 10), -1e8))
    np.testing.assert_allclose(loss, np.log(10), rtol=1e-6)
    np.testing.assert_allclose(gradient, (0.1 - np.eye(3, 10)) / 3, rtol=1e-5)
