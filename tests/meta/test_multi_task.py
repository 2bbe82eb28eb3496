"""Several tasks under one rule: weights, normalisation of gradients, replacement of lifetimes, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner, MultiTask, TaskLevels
from lopt.types import Level
from tests.contracts.test_estimator import THETA, K, Quadratic, levels

KEY = jax.random.key(0)
ONE = MetaGradient(lifetime=Quadratic(), num_updates=K)


def two(**changes):
    return MultiTask(estimators=(ONE, ONE), names=("a", "b"), **changes)


def both(scale):
    """Levels of two tasks; the second one's targets are `scale` times as far away."""
    first = levels()
    far = first.params | {"target": scale * first.params["target"]}
    return first.replace(params=(first.params, far))


def estimate(estimator, batch):
    state = jax.jit(estimator.init)(KEY, THETA, batch)
    return jax.jit(estimator.estimate)(KEY, THETA, batch, state)


def separate(batch):
    """The gradient of each task alone, with the keys that `MultiTask` gives it."""
    key_init, key_estimate = jax.random.split(KEY, 2), jax.random.split(KEY, 2)
    grads = []
    for i in range(2):
        own = batch.replace(params=batch.params[i])
        state = jax.jit(ONE.init)(key_init[i], THETA, own)
        grads.append(jax.jit(ONE.estimate)(key_estimate[i], THETA, own, state)[0])
    return grads


def test_the_gradient_is_the_weighted_mean_of_the_tasks():
    batch = both(3.0)
    first, second = separate(batch)
    got, _, metrics = estimate(two(weights=(3.0, 1.0)), batch)
    expected = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, first, second)
    chex.assert_trees_all_close(got, expected, rtol=1e-5)
    losses = [float(metrics.meta[f"{name}/meta_loss"].mean()) for name in "ab"]
    np.testing.assert_allclose(metrics.meta["meta_loss"], 0.75 * losses[0] + 0.25 * losses[1], rtol=1e-5)
    np.testing.assert_allclose(metrics.meta["a/task_gradient_norm"], optax.tree.norm(first), rtol=1e-5)


def test_with_norm_decay_the_scale_of_a_task_has_no_effect():
    """The first estimate divides each gradient by its own norm; the mean of squares starts without bias."""
    batch = both(1000.0)
    got, after, _ = estimate(two(norm_decay=0.9), batch)
    units = [jax.tree.map(lambda x, g=g: x / optax.tree.norm(g), g) for g in separate(batch)]
    chex.assert_trees_all_close(got, jax.tree.map(lambda a, b: 0.5 * (a + b), *units), rtol=1e-4)
    assert after.shared.count == 1 and (np.asarray(after.shared.square_norms) > 0).all()


def test_one_task_is_its_estimator():
    batch = levels()
    alone = MultiTask(estimators=(ONE,), names=("a",))
    got, _, _ = estimate(alone, batch.replace(params=(batch.params,)))
    key = jax.random.split(KEY, 1)[0]
    expected, *_ = jax.jit(ONE.estimate)(key, THETA, batch, jax.jit(ONE.init)(key, THETA, batch))
    chex.assert_trees_all_close(got, expected, rtol=1e-6)


def test_the_meta_learner_replaces_a_lifetime_on_all_tasks():
    def sample(scale):
        def level(key):
            initial, target = jax.random.normal(key, (2, 3))
            return Level(params={"initial": initial, "target": scale * target}, num_updates=jnp.int32(2 * K))

        return level

    learner = MetaLearner(
        estimator=two(),
        curriculum=DomainRandomisation(TaskLevels((sample(1.0), sample(2.0)))),
        score=Uniform(),
        optimizer=optax.sgd(0.1),
        num_lifetimes=2,
        stagger=False,
    )
    state, step, ages = jax.jit(learner.init)(KEY, THETA), jax.jit(learner.step), []
    before = state.assignment.levels.params
    for i in range(3):
        state, metrics = step(jax.random.fold_in(KEY, i), state)
        ages.append(np.asarray(learner.estimator.age(state.estimator_state)).tolist())
        assert {"meta_loss", "a/meta_loss", "b/position", "a/age"} <= set(metrics)
    assert ages == [[K, K], [0, 0], [K, K]]
    for old, new in zip(before, state.assignment.levels.params, strict=True):
        assert (old["target"] != new["target"]).all()
    assert all((x != y).all() for x, y in zip(*map(jax.tree.leaves, (state.theta, THETA)), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a",)}, "a different name for each"),
        ({"names": ("a", "a")}, "a different name for each"),
        ({"estimators": (), "names": ()}, "at least one estimator"),
        ({"weights": (1.0,)}, "expected 2 weights"),
        ({"weights": (1.0, -1.0)}, "not negative"),
        ({"weights": (0.0, 0.0)}, "positive sum"),
        ({"norm_decay": 1.0}, r"norm_decay must be in \[0, 1\) or None"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        MultiTask(**({"estimators": (ONE, ONE), "names": ("a", "b")} | changes))


def test_levels_without_an_entry_per_task_are_refused():
    with pytest.raises(ValueError, match="a tuple with one entry for each of the 2 tasks"):
        two().init(KEY, THETA, levels())
