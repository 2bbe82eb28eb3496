"""Meta-gradients: equality with a closed form, finite differences and a Python loop; non-finite lifetimes; memory."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lopt.meta import MetaGradient
from lopt.objectives import LPGRegulariser
from lopt.types import Level, UpdateInfo
from tests.reference import bandit
from tests.reference.bandit import Bandit
from tests.reference.lifetimes import random_theta, rl_lifetime
from tests.reference.pair import levels

KEY = jax.random.key(0)
THETA = {"value": jnp.array([0.5, -1.0, 0.8])}


def test_one_update_of_a_bandit_equals_the_closed_form():
    num, lifetime = 4, Bandit()
    batch = bandit.levels(num)
    estimator = MetaGradient(lifetime=lifetime, num_updates=1)
    state = jax.jit(estimator.init)(KEY, THETA, batch)
    grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, batch, state)

    @jax.jit
    @jax.vmap
    def noise(key):
        (key_update,) = jax.random.split(jax.random.split(key)[0], 1)
        return jax.random.normal(key_update, (lifetime.arms,))

    noises, theta = noise(jax.random.split(KEY, num)), np.asarray(THETA["value"])
    rows = (np.asarray(state.per_lifetime.logits), np.asarray(batch.params["reward"]), np.asarray(noises))
    expected = np.mean([bandit.meta_gradient(lifetime, theta, *row) for row in zip(*rows, strict=True)], 0)
    np.testing.assert_allclose(grads["value"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(after.per_lifetime.age, np.ones(num))
    np.testing.assert_array_equal(after.per_lifetime.measured, np.ones(num))
    assert metrics.steps.metrics["size"].shape == (num, 1) and metrics.meta["regret"].shape == (num,)
    np.testing.assert_array_equal(metrics.meta["meta_loss"], metrics.meta["objective"])
    np.testing.assert_array_equal(metrics.meta["aux_loss"], np.zeros(num))


OPTIONS = {
    "all at once": {"remat": False},
    "rematerialised": {"remat": True},
    "in chunks": {"remat": False, "chunk_size": 2},
    "in chunks, rematerialised": {"chunk_size": 1},
    "per lifetime, with an inactive bound": {"lifetime_norm": 1e6},
    "per lifetime, in chunks": {"lifetime_norm": 1e6, "chunk_size": 2},
}


@cache
def gradients_in_a_loop(num, updates):
    """Loss and gradient of each lifetime, computed one lifetime and one update at a time."""
    lifetime, batch = Bandit(0.1), bandit.levels(num, [1, 2, 50, 50])
    initial = jax.jit(MetaGradient(lifetime=lifetime).init)(KEY, THETA, batch)

    @jax.jit
    @jax.value_and_grad
    def loss(theta, key, level, state):
        key_updates, key_loss = jax.random.split(key)
        sizes, active = [], []
        for key in jax.random.split(key_updates, updates):
            active.append(lifetime.age(state) < level.num_updates)
            state, info = lifetime.step(key, theta, level, state)
            sizes.append(active[-1] * info.metrics["size"])
        return lifetime.meta_loss(key_loss, theta, level, state)[0] + 0.1 * sum(sizes) / sum(active)

    rows = [jax.tree.map(lambda x, i=i: x[i], (batch, initial.per_lifetime)) for i in range(num)]
    return batch, initial, [loss(THETA, k, *row) for k, row in zip(jax.random.split(KEY, num), rows, strict=True)]


@pytest.mark.parametrize("name", OPTIONS)
def test_all_options_give_the_gradient_of_the_loop(name):
    num, updates = 4, 3
    batch, state, each = gradients_in_a_loop(num, updates)
    estimator = MetaGradient(lifetime=Bandit(0.1), num_updates=updates, **OPTIONS[name])
    grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, batch, state)
    np.testing.assert_allclose(metrics.meta["meta_loss"], [loss for loss, _ in each], rtol=1e-5)
    np.testing.assert_allclose(grads["value"], np.mean([g["value"] for _, g in each], 0), rtol=1e-4, atol=1e-7)
    sizes = np.asarray(metrics.steps.metrics["size"])
    # updates after the end of a lifetime have no metrics and no auxiliary loss
    np.testing.assert_array_equal(np.isfinite(sizes), [[True, False, False], [True, True, False], *2 * [[True] * 3]])
    np.testing.assert_allclose(metrics.meta["aux_loss"], 0.1 * np.nanmean(sizes, 1), rtol=1e-5)
    total = metrics.meta["objective"] + metrics.meta["aux_loss"]
    np.testing.assert_allclose(metrics.meta["meta_loss"], total, rtol=1e-6)
    np.testing.assert_array_equal(after.per_lifetime.age, [1, 2, updates, updates])
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_gradients_of_lifetimes_are_clipped_to_lifetime_norm(chunk_size):
    num, updates = 4, 3
    batch, state, each = gradients_in_a_loop(num, updates)
    unclipped = np.stack([g["value"] for _, g in each])
    norms = np.linalg.norm(unclipped, axis=1)
    bound = float(np.sort(norms)[1:3].mean())
    estimator = MetaGradient(lifetime=Bandit(0.1), num_updates=updates, chunk_size=chunk_size, lifetime_norm=bound)
    grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, batch, state)
    expected = unclipped * np.minimum(1, bound / norms)[:, None]
    np.testing.assert_allclose(grads["value"], expected.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(metrics.meta["clipped"], norms > bound)
    # a lifetime with a NaN loss is left out and reported; the others are unaffected
    with_nan = batch.replace(params={**batch.params, "reward": batch.params["reward"].at[3].set(jnp.nan)})
    grads, _, metrics = jax.jit(estimator.estimate)(KEY, THETA, with_nan, state)
    np.testing.assert_allclose(grads["value"], expected[:3].mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(metrics.meta["clipped"], [*(norms > bound)[:3], np.nan])
    np.testing.assert_array_equal(metrics.finite, [True, True, True, False])
    assert np.isnan(metrics.meta["meta_loss"][3]) and metrics.meta["frac_nonfinite"] == 0.25


class SquareRootLoss:
    """Loss theta x + sqrt(theta y): at y = 0 the loss is finite and its derivative is not."""

    def init(self, key, theta, level):
        return jnp.zeros((), jnp.int32)

    def step(self, key, theta, level, state):
        return state + 1, UpdateInfo({})

    def meta_loss(self, key, theta, level, state):
        x, y = level.params
        return theta * x + jnp.sqrt(theta * y), state, {}

    def age(self, state):
        return state


def estimate_with_nonfinite(bad_loss, bad_gradient, num, **options):
    """The estimate for `num` lifetimes, those at the given indices with a non-finite loss or gradient."""
    x, y = jnp.arange(1.0, num + 1).at[jnp.array(bad_loss, int)].set(jnp.nan), jnp.ones(num)
    batch = Level(params=(x, y.at[jnp.array(bad_gradient, int)].set(0.0)), num_updates=jnp.full(num, 9, jnp.int32))
    estimator, theta = MetaGradient(lifetime=SquareRootLoss(), num_updates=2, **options), jnp.ones(())
    return jax.jit(estimator.estimate)(KEY, theta, batch, estimator.init(KEY, theta, batch))


@pytest.mark.parametrize("options", [{}, {"chunk_size": 3}, {"lifetime_norm": 1e6}, {"remat": False}], ids=str)
@pytest.mark.parametrize(
    "bad", [((), ()), ((2,), ()), ((), (5,)), ((0,), (3,)), ((), (0, 1, 3)), ((0, 1, 2, 3, 4, 5), ())], ids=str
)
def test_a_lifetime_that_is_not_finite_is_left_out(options, bad):
    num = 6
    grads, after, metrics = estimate_with_nonfinite(*bad, num, **options)
    good = np.setdiff1d(np.arange(num), sum(bad, ()))
    np.testing.assert_array_equal(np.flatnonzero(metrics.finite), good)
    np.testing.assert_allclose(metrics.meta["frac_nonfinite"], 1 - len(good) / num, rtol=1e-6)
    # d/dtheta = x + 1/2
    np.testing.assert_allclose(grads, np.mean(good + 1.5) if len(good) else 0.0, rtol=1e-6)
    np.testing.assert_array_equal(after.per_lifetime, np.full(num, 2))


def test_the_gradient_of_an_rl_lifetime_equals_finite_differences():
    """Two updates of LPG, in double precision: every leaf of theta, for fixed trajectories."""
    lifetime, num = (
        rl_lifetime(
            regulariser=LPGRegulariser(policy_entropy=0.1, prediction_entropy=0.2, pi_hat_l2=0.3, y_hat_l2=0.4)
        ),
        2,
    )
    batch = levels(100, 1)
    estimator = MetaGradient(lifetime=lifetime, num_updates=2)
    with jax.enable_x64(True):
        theta = random_theta(lifetime.objective, dtype=np.float64)
        state = jax.jit(estimator.init)(KEY, theta, batch)
        estimate = jax.jit(estimator.estimate)
        grads, after, metrics = estimate(KEY, theta, batch, state)
        rng = np.random.default_rng(0)
        leaves, structure = jax.tree.flatten(theta)
        for i, (leaf, g) in enumerate(zip(leaves, jax.tree.leaves(grads), strict=True)):
            direction = rng.normal(size=leaf.shape)
            losses = []
            for step in (1e-5, -1e-5):
                perturbed = structure.unflatten([*leaves[:i], leaf + step * direction, *leaves[i + 1 :]])
                _, perturbed_after, perturbed_metrics = estimate(KEY, perturbed, batch, state)
                chex.assert_trees_all_equal(perturbed_after.per_lifetime.env_batch, after.per_lifetime.env_batch)
                losses.append(np.asarray(perturbed_metrics.meta["meta_loss"]).mean())
            slope = (np.asarray(g) * direction).sum()
            assert abs(slope) > 1e-7
            np.testing.assert_allclose((losses[0] - losses[1]) / 2e-5, slope, rtol=1e-5, atol=1e-9)
    assert len(np.unique(metrics.steps.metrics["reward"])) > 2
    np.testing.assert_array_equal(after.per_lifetime.age, [2, 1])
    assert metrics.meta["meta_loss"].shape == (num,)


class Wide(struct.PyTreeNode):
    """A learner state that dominates the memory."""

    x: jax.Array
    age: jax.Array


class WideLifetime:
    """An update with ten intermediate results of the state's size."""

    def init(self, key, theta, level):
        return Wide(jax.random.normal(key, (20_000,)), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        x = state.x
        for _ in range(10):
            x = jnp.sin(theta * x) * x
        return Wide(x, state.age + 1), UpdateInfo({})

    def meta_loss(self, key, theta, level, state):
        return (state.x**2).mean(), state, {}

    def age(self, state):
        return state.age


def test_rematerialisation_stores_one_state_per_update():
    batch, theta = Level(params=(), num_updates=jnp.full(2, 100, jnp.int32)), jnp.ones(())

    def memory(updates, remat):
        estimator = MetaGradient(lifetime=WideLifetime(), num_updates=updates, remat=remat)
        state = jax.eval_shape(estimator.init, KEY, theta, batch)
        compiled = jax.jit(estimator.estimate).lower(KEY, theta, batch, state).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    state = 2 * 20_000 * 4
    growth = {remat: (memory(10, remat) - memory(2, remat)) / 8 / state for remat in (False, True)}
    assert growth[True] < 1.5
    assert growth[False] > 8


def test_bad_values():
    with pytest.raises(ValueError, match="num_updates"):
        MetaGradient(lifetime=Bandit(), num_updates=0)
    with pytest.raises(ValueError, match="chunk_size"):
        MetaGradient(lifetime=Bandit(), chunk_size=0)
    with pytest.raises(ValueError, match=r"lifetime_norm must be positive or None \(got 0.0\)"):
        MetaGradient(lifetime=Bandit(), lifetime_norm=0.0)
    batch = bandit.levels(3)
    estimator = MetaGradient(lifetime=Bandit(), chunk_size=2)
    state = jax.eval_shape(estimator.init, KEY, THETA, batch)
    with pytest.raises(ValueError, match=r"must divide the number of lifetimes \(got 2 and 3\)"):
        jax.eval_shape(partial(estimator.estimate, KEY, THETA, batch), state)
