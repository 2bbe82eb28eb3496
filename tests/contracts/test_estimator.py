"""Laws of every estimator of a meta-gradient."""

import functools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from lopt.meta import ES, PES, EvosaxES, MetaGradient, MultiTask, Raw
from lopt.protocols import Estimator
from lopt.types import EstimatorMetrics, EstimatorState, Level, UpdateInfo
from tests.reference import keys

KEY = jax.random.key(0)
N, K, DIMENSIONS = 4, 2, 3
RATE, NOISE = 0.3, 0.5


class Point(struct.PyTreeNode):
    """Learner state: position and age."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Quadratic:
    """Lifetime of a point that moves towards theta, with noise; the loss is half the squared distance to a target."""

    def init(self, key, theta, level):
        return Point(level.params["initial"], jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        active = state.age < level.num_updates
        x = state.x + RATE * (theta["x"] - state.x) + NOISE * jax.random.normal(key, state.x.shape)
        return Point(jnp.where(active, x, state.x), state.age + active), UpdateInfo({"age": state.age * 1.0})

    def meta_loss(self, key, theta, level, state):
        return 0.5 * ((state.x - level.params["target"]) ** 2).sum(), state, {"position": state.x[0]}

    def age(self, state):
        return state.age


THETA = {"x": jnp.array([0.5, -1.0, 2.0])}


@functools.cache
def open_es():
    """OpenAI's strategy as an estimator of the gradient: one step of SGD without fitness shaping."""
    from evosax.algorithms import Open_ES
    from evosax.core.fitness_shaping import identity_fitness_shaping_fn

    std = optax.constant_schedule(0.5)
    return Open_ES(6, THETA, True, optax.sgd(1.0), std, fitness_shaping_fn=identity_fitness_shaping_fn)


ESTIMATORS = {
    "MetaGradient": lambda: MetaGradient(lifetime=Quadratic(), num_updates=K),
    "MetaGradient, in chunks": lambda: MetaGradient(lifetime=Quadratic(), num_updates=K, chunk_size=2),
    "MetaGradient, not rematerialised": lambda: MetaGradient(lifetime=Quadratic(), num_updates=K, remat=False),
    "ES": lambda: ES(lifetime=Quadratic(), num_updates=K, std=0.5, shaping=Raw()),
    "ES, in packs, independent noise": lambda: ES(
        lifetime=Quadratic(), num_updates=K, std=0.5, shaping=Raw(), common_noise=False, pack=2
    ),
    "PES": lambda: PES(lifetime=Quadratic(), num_updates=K, std=0.5),
    "PES, in packs": lambda: PES(lifetime=Quadratic(), num_updates=K, std=0.5, pack=2),
    "PES, noise reused": lambda: PES(lifetime=Quadratic(), num_updates=K, std=0.5, reuse=True),
    "two tasks": lambda: MultiTask(
        estimators=(ESTIMATORS["PES"](), ESTIMATORS["MetaGradient"]()), names=("first", "second"), weights=(3.0, 1.0)
    ),
    "evosax": lambda: EvosaxES(lifetime=Quadratic(), algorithm=open_es(), num_updates=K),
    "evosax, in packs, independent noise": lambda: EvosaxES(
        lifetime=Quadratic(), algorithm=open_es(), num_updates=K, common_noise=False, pack=1
    ),
}
for_estimators = pytest.mark.parametrize("name", ESTIMATORS)


def levels(name=""):
    rng = np.random.default_rng(0)
    params = {k: jnp.array(rng.normal(size=(N, DIMENSIONS)), jnp.float32) for k in ("initial", "target")}
    return Level(params=(params, params) if name == "two tasks" else params, num_updates=jnp.array([100, 100, 1, 100]))


def metric(name, of):
    return f"first/{of}" if name == "two tasks" else of


@functools.cache
def jitted(name):
    estimator = ESTIMATORS[name]()
    return jax.jit(estimator.init), jax.jit(estimator.estimate)


@functools.cache
def first_estimate(name):
    init, estimate = jitted(name)
    state = init(KEY, THETA, levels(name))
    return state, estimate(KEY, THETA, levels(name), state)


@for_estimators
def test_estimator_has_the_methods_and_hashes(name):
    assert isinstance(ESTIMATORS[name](), Estimator)
    assert isinstance(hash(ESTIMATORS[name]()), int)


@for_estimators
def test_state_is_arrays_with_the_lifetimes_first(name):
    state, (_, after, _) = first_estimate(name)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert isinstance(state, EstimatorState)
    for leaf in jax.tree.leaves(state):
        assert isinstance(leaf, jax.Array) and not leaf.weak_type
    for leaf in jax.tree.leaves(state.per_lifetime):
        assert leaf.shape[0] == N


@for_estimators
def test_learners_and_ages(name):
    estimator = ESTIMATORS[name]()
    state, (_, after, _) = first_estimate(name)
    np.testing.assert_array_equal(estimator.age(state), np.zeros(N))
    np.testing.assert_array_equal(estimator.age(after), [K, K, 1, K])
    learners = estimator.learners(after)
    for learner in learners if name == "two tasks" else (learners,):
        assert isinstance(learner, Point)
        chex.assert_shape(learner.x, (N, DIMENSIONS))


@for_estimators
def test_gradient_and_metrics_have_the_right_shapes(name):
    _, (grads, _, metrics) = first_estimate(name)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, THETA)
    assert isinstance(metrics, EstimatorMetrics)
    assert {"meta_loss", metric(name, "position")} <= set(metrics.meta)
    assert all(x.shape in ((), (N,)) for x in metrics.meta.values())
    age = np.asarray(metrics.steps.metrics[metric(name, "age")])
    assert age.shape == (N, K) and np.isfinite(age[[0, 1, 3]]).all() and age[2, 0] == 0
    measured = np.isfinite(age)
    np.testing.assert_array_equal(age[measured], np.array([[0, 1], [0, 1], [0, 1], [0, 1]])[measured])


@for_estimators
def test_gradient_is_unbiased(name):
    """The mean over 2,500 keys against the exact gradient of the expected loss, in standard errors."""
    _, estimate = jitted(name)
    batch, state = levels(name), first_estimate(name)[0]
    draws = jax.random.split(jax.random.key(1), 2500)
    grads = jax.jit(jax.vmap(lambda key: estimate.__wrapped__(key, THETA, batch, state)[0]["x"]))(draws)
    params = levels().params
    initial, target, theta = (np.float64(x) for x in (params["initial"], params["target"], THETA["x"]))
    decay = (1 - RATE) ** np.array([K, K, 1, K])[:, None]
    expected = ((1 - decay) * (decay * initial + (1 - decay) * theta - target)).mean(0)
    z = (np.mean(grads, 0) - expected) / (np.std(grads, 0) / 50)
    assert (np.abs(z) < 4).all()
    assert (np.std(grads, 0) > 0.01).all() and (np.abs(expected) > 10 * np.std(grads, 0) / 50).any()


@for_estimators
def test_the_estimate_is_a_function_of_its_key(name):
    _, estimate = jitted(name)
    state, (grads, *_) = first_estimate(name)
    again, *_ = estimate(KEY, THETA, levels(name), state)
    other, *_ = estimate(jax.random.key(9), THETA, levels(name), state)
    chex.assert_trees_all_equal(again, grads)
    assert (other["x"] != grads["x"]).all()


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name.startswith("MetaGradient")])
def test_no_key_is_used_twice(name, monkeypatch):
    """Evolution strategies reuse keys by design, for common noise and to draw eps again (tests/meta/test_es.py)."""
    estimator = ESTIMATORS[name]()
    state = keys.trace(monkeypatch, estimator.init, KEY, THETA, levels())
    keys.trace(monkeypatch, estimator.estimate, KEY, THETA, levels(), state)
