"""`MetaTester` against a loop in Python."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lopt.evaluation import MetaTester
from lopt.types import Level, UpdateInfo


class Walker(struct.PyTreeNode):
    """A position and the steps done."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Walk:
    """Each update adds theta and noise, until the lifetime is over."""

    def init(self, key, theta, level):
        return Walker(level.params + jax.random.normal(key), jnp.int32(0))

    def step(self, key, theta, level, state):
        active = level.active(state.age)
        x = jnp.where(active, state.x + theta + 0.1 * jax.random.normal(key), state.x)
        return Walker(x, state.age + active), UpdateInfo({"x": x, "unused": jnp.zeros(7)})

    def meta_loss(self, key, theta, level, state):
        return state.x, state, {}

    def age(self, state):
        return state.age


def measure(key, level, learner):
    return {"x": learner.x, "noise": jax.random.normal(key)}


LEVELS = Level(params=jnp.arange(5.0), num_updates=jnp.array([1, 2, 3, 4, 4], jnp.int32))
KEYS = jax.random.split(jax.random.key(0), 5)
THETA = jnp.float32(0.5)


def make(**options):
    return MetaTester(lifetime=Walk(), num_updates=4, measure=measure, records=lambda metrics: metrics["x"], **options)


def test_learners_are_trained_one_by_one():
    result = make(measure_initial=True)(KEYS, THETA, LEVELS)
    for i, key in enumerate(KEYS):
        key_init, key_updates, key_measure = jax.random.split(key, 3)
        level = jax.tree.map(lambda x, i=i: x[i], LEVELS)
        state = initial = Walk().init(key_init, THETA, level)
        path = []
        for key_step in jax.random.split(key_updates, 4):
            state, _ = Walk().step(key_step, THETA, level, state)
            path.append(state.x)
        assert int(state.age) == int(level.num_updates)
        np.testing.assert_allclose(result.final["x"][i], state.x, rtol=1e-6)
        np.testing.assert_allclose(result.initial["x"][i], initial.x, rtol=1e-6)
        np.testing.assert_allclose(result.records[i], np.stack(path), rtol=1e-6)
        noise = jax.random.normal(key_measure)
        np.testing.assert_allclose([result.final["noise"][i], result.initial["noise"][i]], [noise, noise], rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_batches_do_not_matter(size):
    whole, parts = make()(KEYS, THETA, LEVELS), make(batch_size=size)(KEYS, THETA, LEVELS)
    chex.assert_trees_all_close(whole, parts, rtol=1e-6)


def test_by_default_only_the_final_measurement_is_kept():
    result = MetaTester(lifetime=Walk(), num_updates=4, measure=measure)(KEYS, THETA, LEVELS)
    assert result.initial == result.records == ()


def test_rules_are_paired_and_compiled_once():
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(measure, 1)
    test = MetaTester(lifetime=Walk(), num_updates=4, measure=counted)
    differences = test(KEYS, THETA, LEVELS).final["x"] - test(KEYS, THETA - 1, LEVELS).final["x"]
    np.testing.assert_allclose(differences, LEVELS.num_updates, rtol=1e-5)


def test_bad_sizes():
    with pytest.raises(ValueError, match="batch_size must be at least 1 .got 0"):
        make(batch_size=0)
    with pytest.raises(ValueError, match="num_updates must be at least 1"):
        MetaTester(lifetime=Walk(), num_updates=0, measure=measure)
    with pytest.raises(ValueError, match="got 3 keys and 5 levels"):
        make()(KEYS[:3], THETA, LEVELS)
