"""Tasks: their laws, their closed forms, and what a life on them does."""

import functools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import optimizers as lo
from lopt import tasks
from lopt.protocols import Task
from lopt.tasks import (
    ConvNet,
    DatasetTask,
    LanguageTask,
    Late,
    Perceptron,
    Quadratic,
    Recurrent,
    Rescaled,
    Rosenbrock,
    SupervisedLifetime,
    Transformer,
    Variations,
    apply_and_watch,
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
    "convolutions": lambda: DatasetTask(tasks.digits(), ConvNet((2,), 10), cross_entropy, 2),
    "autoencoder": lambda: DatasetTask(spots().autoencoding(), Perceptron((2,), 4), squared_error, 2),
    "transformer": lambda: LanguageTask(TEXT, Transformer(V, 4, 1, 2), 2, 5),
    "recurrent": lambda: LanguageTask(TEXT, Recurrent(V, 4), 2, 5),
    "quadratic": lambda: Quadratic(4, noise=0.5),
    "Rosenbrock": lambda: Rosenbrock(3, noise=0.5),
    "rescaled": lambda: Rescaled(classification(), 0.1, 10.0),
}
SLOW = ("recurrent", "convolutions", "transformer")  # to compile
for_tasks = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TASKS]
)


@functools.cache
def tried(name):
    """A newborn, its two batches, and its losses and gradient on them."""
    task = TASKS[name]()

    @jax.jit
    def run(key):
        key_variation, key_init, key_batch = jax.random.split(key, 3)
        variation = task.sample(key_variation)
        params = task.init(key_init, variation)
        batches = [task.batch(key_batch, variation, held_out=held_out) for held_out in (False, True)]
        (loss, (metrics, told)), grads = jax.value_and_grad(
            lambda p: task.loss(variation, p, batches[0]), has_aux=True
        )(params)
        return {
            "params": params,
            "batches": batches,
            "loss": loss,
            "metrics": metrics,
            "told": told,
            "grads": grads,
            "held out": task.loss(variation, params, batches[1])[0],
        }

    return SimpleNamespace(task=task, run=run, first=run(KEY))


@for_tasks
def test_laws_of_a_task(name):
    it, first = tried(name), tried(name).first
    assert isinstance(it.task, Task) and isinstance(hash(it.task), int)
    chex.assert_shape(first["loss"], ())
    chex.assert_tree_all_finite((first["loss"], first["held out"], first["grads"]))
    assert all(np.asarray(g).any() for g in jax.tree.leaves(first["grads"]) if g.size > 1)
    assert all(x.shape == () for x in jax.tree.leaves(first["metrics"]))
    chex.assert_trees_all_equal(it.run(KEY), first)
    other = it.run(jax.random.key(1))
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*map(_weights, (other, first)), strict=True))
    assert other["loss"] != first["loss"] and first["held out"] != first["loss"]
    if "dormancy" in first["told"]:
        chex.assert_trees_all_equal_structs(first["told"]["dormancy"], first["params"])
        jax.tree.map(lambda d, p: np.broadcast_to(d, p.shape), first["told"]["dormancy"], first["params"])


def _weights(tried):
    """All but biases and scales, which are born alike."""
    return [x for x in jax.tree.leaves(tried["params"]) if x.ndim > 1 or "x" in tried["params"]]


@for_tasks
def test_no_key_is_used_twice(name, monkeypatch):
    task = TASKS[name]()
    variation = jax.jit(task.sample)(KEY)
    keys.trace(monkeypatch, task.sample, KEY)
    keys.trace(monkeypatch, task.init, KEY, variation)
    keys.trace(monkeypatch, functools.partial(task.batch, held_out=False), KEY, variation)


def test_a_newborn_knows_nothing():
    """Its loss is about that of guessing."""
    assert abs(float(tried("perceptron").first["loss"]) - np.log(3)) < 1


def test_batches_are_examples_of_their_part():
    task, data = TASKS["perceptron"](), spots()
    for held_out, part in ((False, data.train), (True, data.held_out)):
        inputs, targets = jax.jit(functools.partial(task.batch, held_out=held_out))(KEY, ())
        for x, y in zip(np.asarray(inputs), np.asarray(targets), strict=True):
            (index,) = np.flatnonzero((part.inputs == x).all(1))
            assert part.targets[index] == y


def test_pieces_of_text_do_not_cross_into_what_is_held_out():
    numbered = LanguageTask(np.arange(200), Recurrent(200, 4), 64, 5)
    draw = jax.jit(numbered.batch, static_argnames="held_out")
    for held_out, low, high in ((False, 0, 179), (True, 180, 199)):
        pieces = np.asarray(draw(KEY, (), held_out=held_out))
        assert pieces.shape == (64, 6) and (np.diff(pieces) == 1).all()
        assert pieces.min() >= low and pieces.max() <= high
    assert {*np.asarray(draw(KEY, (), held_out=True))[:, 0]} == set(range(180, 195))


def test_a_transformer_sees_only_what_came_before():
    net = Transformer(V, 4, 1, 2)
    tokens = jnp.array(TEXT[None, :6])

    @jax.jit
    def both(tokens):
        params = net.init(KEY, tokens)["params"]
        return net.apply({"params": params}, tokens), net.apply({"params": params}, tokens.at[0, 4].add(1))

    one, other = both(tokens)
    np.testing.assert_allclose(one[0, :4], other[0, :4], atol=1e-6)
    assert (np.abs(one[0, 4] - other[0, 4]) > 1e-6).any()


def test_dormancy_is_activity_relative_to_the_layer():
    net, x = Perceptron((3,), 2), jnp.array(spots().train.inputs[:6])
    params = jax.jit(net.init)(KEY, x)["params"]
    params["Dense_0"]["bias"] = jnp.array([0.0, -100.0, 1.0])  # the second neuron sleeps
    _, dormancy = jax.jit(lambda p: apply_and_watch(net, p, x))(params)
    hidden = np.maximum(np.asarray(x) @ np.asarray(params["Dense_0"]["kernel"]) + [0, -100, 1], 0).mean(0)
    np.testing.assert_allclose(dormancy["Dense_0"]["kernel"], (hidden / hidden.mean())[None], rtol=1e-4)
    np.testing.assert_allclose(dormancy["Dense_0"]["bias"], hidden / hidden.mean(), rtol=1e-4)
    assert dormancy["Dense_0"]["bias"][1] == 0
    np.testing.assert_array_equal(dormancy["Dense_1"]["bias"], [1])


def test_a_quadratic_has_the_spectrum_that_was_asked_for():
    task = Quadratic(4, condition=1000.0, largest=2.0)
    bowl = jax.jit(task.sample)(KEY)
    loss = jax.jit(lambda x: task.loss(bowl, {"x": x}, jnp.zeros(4))[0])
    hessian = jax.jit(jax.hessian(loss))(jnp.zeros(4))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [0.002, 0.02, 0.2, 2.0], rtol=1e-2)
    assert loss(bowl.minimum) == 0
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(bowl.minimum), np.zeros(4), atol=1e-6)


def test_rosenbrock_by_hand():
    task, batch = Rosenbrock(2), jnp.zeros(2)
    for x, expected in (([1.0, 1.0], 0.0), ([0.0, 0.0], 1.0), ([-1.0, 2.0], 104.0)):
        assert task.loss((), {"x": jnp.array(x)}, batch)[0] == expected


@pytest.mark.parametrize("task", [Quadratic(3, noise=0.5), Rosenbrock(3, noise=0.5)], ids=["quadratic", "Rosenbrock"])
def test_noise_is_that_of_the_gradient(task):
    @jax.jit
    @jax.vmap
    def gradients(key):
        batch = task.batch(key, variation, held_out=False)
        return jax.grad(lambda x: task.loss(variation, {"x": x}, batch)[0])(x)

    variation, x = jax.jit(task.sample)(KEY), jnp.array([0.3, -0.2, 0.1])
    drawn = np.asarray(gradients(jax.random.split(KEY, 4000)))
    exact = jax.jit(jax.grad(lambda x: task.loss(variation, {"x": x}, jnp.zeros(3))[0]))(x)
    np.testing.assert_allclose(drawn.std(0), 0.5, rtol=0.06)
    assert (np.abs(drawn.mean(0) - exact) < 4 * 0.5 / np.sqrt(4000)).all()
    assert not np.asarray(task.batch(KEY, variation, held_out=True)).any()


def test_a_rescaled_task_is_the_same_function_in_other_units():
    task = TASKS["rescaled"]()
    units = jax.jit(task.sample)(KEY)
    factors = np.array([float(x.squeeze()) for x in jax.tree.leaves(units.scale)])
    assert len(np.unique(factors)) == 4 and (factors >= 0.1).all() and (factors <= 10).all()

    @jax.jit
    def compare(key):
        inner, outer = task.task.init(key, ()), task.init(key, units)
        batch = task.batch(key, units, held_out=False)
        one = jax.value_and_grad(lambda p: task.task.loss((), p, batch)[0])(inner)
        return inner, outer, one, jax.value_and_grad(lambda p: task.loss(units, p, batch)[0])(outer)

    inner, outer, (loss, grads), (same, scaled) = compare(KEY)
    np.testing.assert_allclose(same, loss, rtol=1e-5)
    chex.assert_trees_all_close(jax.tree.map(jnp.multiply, outer, units.scale), inner, rtol=1e-5)
    chex.assert_trees_all_close(scaled, jax.tree.map(jnp.multiply, grads, units.scale), rtol=1e-4, atol=1e-7)


def test_lifetimes_are_log_uniform():
    drawn = jax.jit(jax.vmap(Variations(Rosenbrock(), 64, shortest=4)))(jax.random.split(KEY, 4000)).lifetime
    drawn = np.asarray(drawn)
    assert drawn.min() == 4 and drawn.max() == 64
    counts = np.array([((drawn >= a) & (drawn < 2 * a)).mean() for a in (4, 8, 16, 32)])
    expected = np.log([8 / 4, 2, 2, 2]) / np.log(65 / 4)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected / 4000)).all()


def test_newborns_of_a_level_are_alike_and_of_another_are_not():
    life = SupervisedLifetime(classification(), lo.LearnableSGD())
    some, theta = levels(life, 5, 5), jax.jit(life.optimizer.init)(KEY)
    birth = jax.jit(lambda key, level: life.init(key, theta, level).params)
    one, other = (jax.tree.map(lambda x, i=i: x[i], some) for i in (0, 1))
    chex.assert_trees_all_equal(birth(KEY, one), birth(jax.random.key(5), one))
    assert (birth(KEY, one)["Dense_0"]["kernel"] != birth(KEY, other)["Dense_0"]["kernel"]).all()


def test_a_life_is_a_training_run_of_optax():
    """Plain gradient descent on a quadratic, by hand."""
    life = SupervisedLifetime(Quadratic(3, 10.0), lo.Designed(lambda _: optax.sgd(0.5)))
    level = jax.tree.map(lambda x: x[0], levels(life, 2))

    @jax.jit
    def live(key):
        states = [life.init(key, (), level)]
        for _ in range(3):
            state, metrics = life.step(key, (), level, states[-1])
            states.append(state)
        return [s.params["x"] for s in states], metrics, life.meta_loss(key, (), level, state)[0]

    xs, metrics, loss = live(KEY)
    bowl = jax.tree.map(np.float64, level.params.task)
    hessian = bowl.basis.T @ np.diag(bowl.eigenvalues) @ bowl.basis
    x = np.float64(xs[0])
    for got in xs[1:3]:
        x = x - 0.5 * hessian @ (x - bowl.minimum)
        np.testing.assert_allclose(got, x, rtol=1e-4)
    np.testing.assert_array_equal(xs[3], xs[2])  # its life was over
    np.testing.assert_allclose(loss, 0.5 * (x - bowl.minimum) @ hessian @ (x - bowl.minimum), rtol=1e-3)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)


def test_losses_count_for_more_late_in_life():
    task, rule = Rosenbrock(), lo.Designed(lambda _: optax.sgd(1.0))
    even, late = SupervisedLifetime(task, rule), SupervisedLifetime(task, rule, weight=Late(2.0))
    level = jax.tree.map(lambda x: x[0], levels(even, 8))
    state = jax.jit(lambda: even.init(KEY, (), level).replace(age=jnp.int32(4)))()
    one, other = (jax.jit(life.meta_loss)(KEY, (), level, state) for life in (even, late))
    np.testing.assert_allclose(other[0], one[0] / 4, rtol=1e-6)
    assert_ulps(other[2]["learner_loss"], one[0], ulps=10)  # a sum of three positive terms of as many roundings


def test_a_lost_learner_is_as_bad_as_it_can_get():
    for bound, expected in ((7.0, 7.0), (None, np.nan)):
        life = SupervisedLifetime(Rosenbrock(), lo.Designed(lambda _: optax.sgd(1.0)), bound=bound)
        level = jax.tree.map(lambda x: x[0], levels(life, 9))
        state = jax.eval_shape(lambda life=life, level=level: life.init(KEY, (), level))
        lost = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan if x.dtype == jnp.float32 else 1, x.dtype), state)
        np.testing.assert_array_equal(life.meta_loss(KEY, (), level, lost)[0], expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: classification(batch_size=0), "DatasetTask: batch_size must be at least 1"),
        (lambda: LanguageTask(TEXT, Recurrent(V), 0), "LanguageTask: batch_size must be at least 1"),
        (lambda: LanguageTask(TEXT, Recurrent(V), 1, 20), r"more than 210 numbers \(got shape \(200,\)\)"),
        (lambda: Quadratic(0), "Quadratic: expected dimensions >= 1"),
        (lambda: Quadratic(condition=0.5), "condition >= 1"),
        (lambda: Rosenbrock(1), "Rosenbrock: expected dimensions >= 2"),
        (lambda: Rescaled(Rosenbrock(), 2.0, 1.0), r"0 < smallest <= largest \(got 2.0 and 1.0\)"),
        (lambda: Variations(Rosenbrock(), 3, shortest=4), "1 <= shortest <= lifetime"),
        (lambda: Variations(Rosenbrock(), 0), "1 <= shortest <= lifetime"),
        (lambda: SupervisedLifetime(Rosenbrock(), lo.LearnableSGD(), bound=np.inf), "bound must be finite"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_cross_entropy_of_large_logits_that_tell_nothing_is_that_of_chance():
    labels = jnp.arange(3)
    loss, slope = jax.value_and_grad(lambda x: cross_entropy(x, labels)[0])(jnp.full((3, 10), -1e8))
    np.testing.assert_allclose(loss, np.log(10), rtol=1e-6)
    np.testing.assert_allclose(slope, (0.1 - np.eye(3, 10)) / 3, rtol=1e-5)
