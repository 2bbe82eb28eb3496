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

from lopt.meta import ES, PES, EvosaxES, MetaGradient, Raw
from lopt.protocols import Estimator
from lopt.types import EstimatorMetrics, EstimatorState, Level
from tests.reference import keys

KEY = jax.random.key(0)
N, K, DIMENSIONS = 4, 2, 3
RATE, NOISE = 0.3, 0.5


class Point(struct.PyTreeNode):
    """Where a learner is."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Quadratic:
    """Moves towards theta, with noise; its loss is half the squared distance to the level's target."""

    def init(self, key, theta, level):
        return Point(level.params["start"], jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        alive = state.age < level.lifetime
        x = state.x + RATE * (theta["x"] - state.x) + NOISE * jax.random.normal(key, state.x.shape)
        return Point(jnp.where(alive, x, state.x), state.age + alive), {"age": state.age * 1.0}

    def meta_loss(self, key, theta, level, state):
        return 0.5 * ((state.x - level.params["target"]) ** 2).sum(), state, {"told": state.x[0]}

    def age(self, state):
        return state.age


THETA = {"x": jnp.array([0.5, -1.0, 2.0])}


@functools.cache
def open_es():
    """OpenAI's strategy as an estimate of the gradient: its one step of plain descent."""
    from evosax.algorithms import Open_ES
    from evosax.core.fitness_shaping import identity_fitness_shaping_fn

    std = optax.constant_schedule(0.5)
    return Open_ES(6, THETA, True, optax.sgd(1.0), std, fitness_shaping_fn=identity_fitness_shaping_fn)


ESTIMATORS = {
    "MetaGradient": lambda: MetaGradient(Quadratic(), K),
    "MetaGradient, in chunks": lambda: MetaGradient(Quadratic(), K, chunk_size=2),
    "MetaGradient, not rematerialised": lambda: MetaGradient(Quadratic(), K, remat=False),
    "ES": lambda: ES(Quadratic(), K, 0.5, Raw()),
    "ES, in packs, other noise": lambda: ES(Quadratic(), K, 0.5, Raw(), common_noise=False, pack=2),
    "PES": lambda: PES(Quadratic(), K, 0.5),
    "PES, in packs": lambda: PES(Quadratic(), K, 0.5, pack=2),
    "PES, noise reused": lambda: PES(Quadratic(), K, 0.5, reuse=True),
    "evosax": lambda: EvosaxES(Quadratic(), open_es(), K),
    "evosax, in packs, other noise": lambda: EvosaxES(Quadratic(), open_es(), K, common_noise=False, pack=1),
}
for_estimators = pytest.mark.parametrize("name", ESTIMATORS)


def levels():
    rng = np.random.default_rng(0)
    params = {k: jnp.array(rng.normal(size=(N, DIMENSIONS)), jnp.float32) for k in ("start", "target")}
    return Level(params=params, lifetime=jnp.array([100, 100, 1, 100]))


@functools.cache
def jitted(name):
    estimator = ESTIMATORS[name]()
    return jax.jit(estimator.init), jax.jit(estimator.estimate)


@functools.cache
def estimate(name):
    init, go = jitted(name)
    state = init(KEY, THETA, levels())
    return state, go(KEY, THETA, levels(), state)


@for_estimators
def test_estimator_has_the_methods_and_hashes(name):
    assert isinstance(ESTIMATORS[name](), Estimator)
    assert isinstance(hash(ESTIMATORS[name]()), int)


@for_estimators
def test_state_is_arrays_with_the_lifetimes_first(name):
    state, (_, after, _) = estimate(name)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert isinstance(state, EstimatorState)
    for leaf in jax.tree.leaves(state):
        assert isinstance(leaf, jax.Array) and not leaf.weak_type
    for leaf in jax.tree.leaves(state.lives):
        assert leaf.shape[0] == N


@for_estimators
def test_learners_and_ages(name):
    estimator = ESTIMATORS[name]()
    state, (_, after, _) = estimate(name)
    np.testing.assert_array_equal(estimator.age(state), np.zeros(N))
    np.testing.assert_array_equal(estimator.age(after), [K, K, 1, K])
    assert isinstance(estimator.learners(after), Point)
    chex.assert_shape(estimator.learners(after).x, (N, DIMENSIONS))


@for_estimators
def test_gradient_and_metrics_have_the_right_shapes(name):
    _, (grads, _, metrics) = estimate(name)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, THETA)
    assert isinstance(metrics, EstimatorMetrics)
    assert {"meta_loss", "told"} <= set(metrics.meta)
    assert all(x.shape in ((), (N,)) for x in metrics.meta.values())
    age = np.asarray(metrics.steps["age"])
    assert age.shape == (N, K) and np.isfinite(age[[0, 1, 3]]).all() and age[2, 0] == 0
    measured = np.isfinite(age)
    np.testing.assert_array_equal(age[measured], np.array([[0, 1], [0, 1], [0, 1], [0, 1]])[measured])


@for_estimators
def test_gradient_is_unbiased(name):
    """Mean over 2,500 keys against the exact gradient of the expected loss, in standard errors."""
    _, go = jitted(name)
    some, state = levels(), estimate(name)[0]
    draws = jax.random.split(jax.random.key(1), 2500)
    grads = jax.jit(jax.vmap(lambda key: go.__wrapped__(key, THETA, some, state)[0]["x"]))(draws)
    start, target, theta = (np.float64(x) for x in (some.params["start"], some.params["target"], THETA["x"]))
    stays = (1 - RATE) ** np.array([K, K, 1, K])[:, None]
    expected = ((1 - stays) * (stays * start + (1 - stays) * theta - target)).mean(0)
    z = (np.mean(grads, 0) - expected) / (np.std(grads, 0) / 50)
    assert (np.abs(z) < 4).all()
    assert (np.std(grads, 0) > 0.01).all() and (np.abs(expected) > 10 * np.std(grads, 0) / 50).any()


@for_estimators
def test_the_key_decides(name):
    init, go = jitted(name)
    state, (grads, *_) = estimate(name)
    again, *_ = go(KEY, THETA, levels(), state)
    other, *_ = go(jax.random.key(9), THETA, levels(), state)
    chex.assert_trees_all_equal(again, grads)
    assert (other["x"] != grads["x"]).all()


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name.startswith("MetaGradient")])
def test_no_key_is_used_twice(name, monkeypatch):
    """Evolution repeats keys on purpose: those of a pair, and of noise that is drawn again (tests/meta/test_es.py)."""
    estimator = ESTIMATORS[name]()
    state = keys.trace(monkeypatch, estimator.init, KEY, THETA, levels())
    keys.trace(monkeypatch, estimator.estimate, KEY, THETA, levels(), state)
