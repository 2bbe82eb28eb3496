"""Meta-gradients: by hand, by finite differences, by a Python loop; and what they remember."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lopt.meta import MetaGradient
from lopt.objectives import LPGPenalty
from lopt.types import Level
from tests.reference import bandit
from tests.reference.bandit import Bandit
from tests.reference.lives import life, random_theta
from tests.reference.pair import levels

KEY = jax.random.key(0)
THETA = {"value": jnp.array([0.5, -1.0, 0.8])}


def test_one_update_of_a_bandit_by_hand():
    num, lifetime = 4, Bandit()
    some = bandit.levels(num)
    estimator = MetaGradient(lifetime, 1)
    state = jax.jit(estimator.init)(KEY, THETA, some)
    grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, some, state)

    @jax.jit
    @jax.vmap
    def noise(key):
        (key_update,) = jax.random.split(jax.random.split(key)[0], 1)
        return jax.random.normal(key_update, (lifetime.arms,))

    drawn, theta = noise(jax.random.split(KEY, num)), np.asarray(THETA["value"])
    rows = (np.asarray(state.lives.logits), np.asarray(some.params["reward"]), np.asarray(drawn))
    expected = np.mean([bandit.meta_gradient(lifetime, theta, *row) for row in zip(*rows, strict=True)], 0)
    np.testing.assert_allclose(grads["value"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(after.lives.age, np.ones(num))
    np.testing.assert_array_equal(after.lives.measured, np.ones(num))
    assert metrics.steps["size"].shape == (num, 1) and metrics.meta["regret"].shape == (num,)
    np.testing.assert_array_equal(metrics.meta["meta_loss"], metrics.meta["objective"])
    np.testing.assert_array_equal(metrics.meta["penalty"], np.zeros(num))


def weigh(steps, active):
    return 0.1 * jnp.where(active, steps["size"], 0.0).sum() / active.sum()


OPTIONS = {
    "at once": {"remat": False},
    "rematerialised": {"remat": True},
    "in chunks": {"remat": False, "chunk_size": 2},
    "in chunks, rematerialised": {"chunk_size": 1},
    "each, with a bound that is never reached": {"lifetime_norm": 1e6},
    "each, in chunks": {"lifetime_norm": 1e6, "chunk_size": 2},
}


@cache
def by_a_loop(num, updates):
    """The sum of each lifetime's own gradient, one lifetime and one update at a time."""
    lifetime, some = Bandit(), bandit.levels(num, [1, 2, 50, 50])
    initial = jax.jit(MetaGradient(lifetime).init)(KEY, THETA, some)

    @jax.jit
    @jax.value_and_grad
    def loss(theta, key, level, state):
        key_updates, key_loss = jax.random.split(key)
        sizes, active = [], []
        for key in jax.random.split(key_updates, updates):
            active.append(lifetime.age(state) < level.lifetime)
            state, told = lifetime.step(key, theta, level, state)
            sizes.append(active[-1] * told["size"])
        return lifetime.meta_loss(key_loss, theta, level, state)[0] + 0.1 * sum(sizes) / sum(active)

    rows = [jax.tree.map(lambda x, i=i: x[i], (some, initial.lives)) for i in range(num)]
    return some, initial, [loss(THETA, k, *row) for k, row in zip(jax.random.split(KEY, num), rows, strict=True)]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_way_to_compute_it_equals_a_loop(name):
    num, updates = 4, 3
    some, state, each = by_a_loop(num, updates)
    estimator = MetaGradient(Bandit(), updates, weigh, **OPTIONS[name])
    grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, some, state)
    np.testing.assert_allclose(metrics.meta["meta_loss"], [loss for loss, _ in each], rtol=1e-5)
    np.testing.assert_allclose(grads["value"], np.mean([g["value"] for _, g in each], 0), rtol=1e-4, atol=1e-7)
    sizes = np.asarray(metrics.steps["size"])
    # updates after the end of a lifetime are not measured, and cost nothing
    np.testing.assert_array_equal(np.isfinite(sizes), [[True, False, False], [True, True, False], *2 * [[True] * 3]])
    np.testing.assert_allclose(metrics.meta["penalty"], 0.1 * np.nanmean(sizes, 1), rtol=1e-5)
    total = metrics.meta["objective"] + metrics.meta["penalty"]
    np.testing.assert_allclose(metrics.meta["meta_loss"], total, rtol=1e-6)
    np.testing.assert_array_equal(after.lives.age, [1, 2, updates, updates])
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_no_lifetime_says_more_than_its_bound(chunk_size):
    num, updates = 4, 3
    some, state, each = by_a_loop(num, updates)
    own = np.stack([g["value"] for _, g in each])
    norms = np.linalg.norm(own, axis=1)
    bound = float(np.sort(norms)[1:3].mean())
    estimator = MetaGradient(Bandit(), updates, weigh, chunk_size=chunk_size, lifetime_norm=bound)
    grads, after, metrics = jax.jit(estimator.estimate)(KEY, THETA, some, state)
    expected = own * np.minimum(1, bound / norms)[:, None]
    np.testing.assert_allclose(grads["value"], expected.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(metrics.meta["clipped"], norms > bound)
    # one that is lost is left out and says so; the others learn on
    lost = some.replace(params={**some.params, "reward": some.params["reward"].at[3].set(jnp.nan)})
    grads, _, metrics = jax.jit(estimator.estimate)(KEY, THETA, lost, state)
    np.testing.assert_allclose(grads["value"], expected[:3].mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(metrics.meta["clipped"], [*(norms > bound)[:3], np.nan])
    np.testing.assert_array_equal(metrics.finite, [True, True, True, False])
    assert np.isnan(metrics.meta["meta_loss"][3]) and metrics.meta["frac_nonfinite"] == 0.25


class Rooted:
    """Loss theta x + sqrt(theta y): where y = 0 the loss is finite and its derivative is not."""

    def init(self, key, theta, level):
        return jnp.zeros((), jnp.int32)

    def step(self, key, theta, level, state):
        return state + 1, {}

    def meta_loss(self, key, theta, level, state):
        x, y = level.params
        return theta * x + jnp.sqrt(theta * y), state, {}

    def age(self, state):
        return state


def rooted(bad_loss, bad_gradient, num, **options):
    """The estimate where some of `num` lifetimes have a loss, or a gradient, that is not finite."""
    x, y = jnp.arange(1.0, num + 1).at[jnp.array(bad_loss, int)].set(jnp.nan), jnp.ones(num)
    some = Level(params=(x, y.at[jnp.array(bad_gradient, int)].set(0.0)), lifetime=jnp.full(num, 9, jnp.int32))
    estimator, theta = MetaGradient(Rooted(), 2, **options), jnp.ones(())
    return jax.jit(estimator.estimate)(KEY, theta, some, estimator.init(KEY, theta, some))


@pytest.mark.parametrize("options", [{}, {"chunk_size": 3}, {"lifetime_norm": 1e6}, {"remat": False}], ids=str)
@pytest.mark.parametrize(
    "bad", [((), ()), ((2,), ()), ((), (5,)), ((0,), (3,)), ((), (0, 1, 3)), ((0, 1, 2, 3, 4, 5), ())], ids=str
)
def test_a_lifetime_that_is_not_finite_is_left_out(options, bad):
    num = 6
    grads, after, metrics = rooted(*bad, num, **options)
    good = np.setdiff1d(np.arange(num), sum(bad, ()))
    np.testing.assert_array_equal(np.flatnonzero(metrics.finite), good)
    np.testing.assert_allclose(metrics.meta["frac_nonfinite"], 1 - len(good) / num, rtol=1e-6)
    # d/dtheta = x + 1/2
    np.testing.assert_allclose(grads, np.mean(good + 1.5) if len(good) else 0.0, rtol=1e-6)
    np.testing.assert_array_equal(after.lives, np.full(num, 2))


def test_the_gradient_of_an_rl_life_equals_finite_differences():
    """Two updates of a learned rule, in double precision: every leaf of theta, for fixed games."""
    lifetime, num = life(), 2
    some = levels(100, 1)
    estimator = MetaGradient(lifetime, 2, LPGPenalty(0.1, 0.2, 0.3, 0.4))
    with jax.enable_x64(True):
        theta = random_theta(lifetime.objective, dtype=np.float64)
        state = jax.jit(estimator.init)(KEY, theta, some)
        estimate = jax.jit(estimator.estimate)
        grads, after, metrics = estimate(KEY, theta, some, state)
        rng = np.random.default_rng(0)
        leaves, structure = jax.tree.flatten(theta)
        for i, (leaf, g) in enumerate(zip(leaves, jax.tree.leaves(grads), strict=True)):
            way = rng.normal(size=leaf.shape)
            losses = []
            for step in (1e-5, -1e-5):
                near = structure.unflatten([*leaves[:i], leaf + step * way, *leaves[i + 1 :]])
                _, moved, told = estimate(KEY, near, some, state)
                chex.assert_trees_all_equal(moved.lives.players, after.lives.players)
                losses.append(np.asarray(told.meta["meta_loss"]).mean())
            slope = (np.asarray(g) * way).sum()
            assert abs(slope) > 1e-7
            np.testing.assert_allclose((losses[0] - losses[1]) / 2e-5, slope, rtol=1e-5, atol=1e-9)
    assert len(np.unique(metrics.steps["reward"])) > 2
    np.testing.assert_array_equal(after.lives.age, [2, 1])
    assert metrics.meta["meta_loss"].shape == (num,)


class Wide(struct.PyTreeNode):
    """A state much larger than anything else."""

    x: jax.Array
    age: jax.Array


class WideLifetime:
    """Many intermediate results per update."""

    def init(self, key, theta, level):
        return Wide(jax.random.normal(key, (20_000,)), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        x = state.x
        for _ in range(10):
            x = jnp.sin(theta * x) * x
        return Wide(x, state.age + 1), {}

    def meta_loss(self, key, theta, level, state):
        return (state.x**2).mean(), state, {}

    def age(self, state):
        return state.age


def test_rematerialisation_remembers_one_state_per_update():
    some, theta = Level(params=(), lifetime=jnp.full(2, 100, jnp.int32)), jnp.ones(())

    def memory(updates, remat):
        estimator = MetaGradient(WideLifetime(), updates, remat=remat)
        state = jax.eval_shape(estimator.init, KEY, theta, some)
        compiled = jax.jit(estimator.estimate).lower(KEY, theta, some, state).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    state = 2 * 20_000 * 4
    growth = {remat: (memory(10, remat) - memory(2, remat)) / 8 / state for remat in (False, True)}
    assert growth[True] < 1.5
    assert growth[False] > 8


def test_bad_values():
    with pytest.raises(ValueError, match="num_updates"):
        MetaGradient(Bandit(), 0)
    with pytest.raises(ValueError, match="chunk_size"):
        MetaGradient(Bandit(), chunk_size=0)
    with pytest.raises(ValueError, match=r"lifetime_norm must be positive or None \(got 0.0\)"):
        MetaGradient(Bandit(), lifetime_norm=0.0)
    some = bandit.levels(3)
    estimator = MetaGradient(Bandit(), chunk_size=2)
    state = jax.eval_shape(estimator.init, KEY, THETA, some)
    with pytest.raises(ValueError, match=r"must divide the number of lifetimes \(got 2 and 3\)"):
        jax.eval_shape(partial(estimator.estimate, KEY, THETA, some), state)
