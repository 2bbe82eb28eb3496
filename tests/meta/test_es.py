"""Evolution strategies: equality with evosax on the same noise, packing, survivors and non-finite losses."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from evosax.algorithms import CMA_ES, SNES, SV_CMA_ES, Open_ES, SV_Open_ES
from evosax.algorithms.population_based import SimpleGA
from flax import struct

from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import ES, CentredRank, EvosaxES, MetaLearner, PairSign, Raw, ZScore, es
from lopt.meta.evosax_es import mean_losses
from lopt.objectives import LPO
from lopt.types import Level, Progress, UpdateInfo
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)
THETA = {"a": jnp.array([0.5, -1.0]), "b": jnp.array([[2.0], [0.3]])}


class Point(struct.PyTreeNode):
    """Position of a learner and number of its updates."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Walk:
    """Random walk with drift theta; the loss is the squared distance to the target, NaN if theta exceeds a limit."""

    noise: float = 0.1

    def init(self, key, theta, level):
        return Point(jax.random.normal(key, (4,)), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        active = state.age < level.num_updates
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(theta)])
        x = state.x + 0.1 * flat + self.noise * jax.random.normal(key, (4,))
        return Point(jnp.where(active, x, state.x), state.age + active), UpdateInfo({"first": x[0]})

    def meta_loss(self, key, theta, level, state):
        loss = ((state.x - level.params["target"]) ** 2).sum()
        nonfinite = theta["a"].sum() > level.params["limit"]
        return jnp.where(nonfinite, jnp.nan, level.params["scale"] * loss), state, {"norm": (state.x**2).sum()}

    def age(self, state):
        return state.age


def levels(*lifetimes, scale=1.0, limit=np.inf):
    num = len(lifetimes)
    target = np.random.default_rng(0).normal(size=(num, 4)).astype(np.float32)
    params = {
        "target": jnp.array(target),
        "scale": jnp.full(num, scale),
        "limit": jnp.full(num, limit),
    }
    return Level(params=params, num_updates=jnp.array(lifetimes, jnp.int32))


def estimate(estimator, batch, key=KEY):
    state = jax.jit(estimator.init)(jax.random.key(1), THETA, batch)
    return state, *jax.jit(estimator.estimate)(key, THETA, batch, state)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_the_gradient_is_open_es_on_the_same_noise():
    """The losses of each pair are computed in a Python loop, and evosax combines them."""
    num, std, walk = 4, 0.3, Walk()
    batch = levels(3, 2, 3, 1)
    state, grads, _, metrics = estimate(ES(lifetime=walk, num_updates=3, std=std, shaping=CentredRank()), batch)
    key_noise, key_lifetimes, _ = jax.random.split(KEY, 3)
    eps = [es.noise(key, THETA) for key in jax.random.split(key_noise, num)]
    losses = np.zeros((num, 2))
    for n, (key,) in enumerate(jax.random.split(key_lifetimes, (num, 1))):
        key_updates, key_loss = jax.random.split(key)
        level, initial = jax.tree.map(lambda x, n=n: x[n], (batch, state.per_lifetime))
        for member, sign in enumerate((1, -1)):
            theta = jax.tree.map(lambda t, e, s=sign: t + s * std * e, THETA, eps[n])
            learner = initial
            for i in range(3):
                learner, _ = walk.step(jax.random.fold_in(key_updates, i), theta, level, learner)
            losses[n, member] = walk.meta_loss(key_loss, theta, level, learner)[0]
    np.testing.assert_allclose(metrics.meta["meta_loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics.meta["best_loss"], losses.min(1), rtol=1e-5)
    reference = Open_ES(2 * num, THETA, True, optax.sgd(1.0), optax.constant_schedule(std))
    noise = np.stack([flat(e) for e in eps])
    population = flat(THETA) + std * np.concatenate([noise, -noise])
    with jax.numpy_rank_promotion("allow"):
        strategy = reference.init(KEY, THETA, reference.default_params)
        population = jax.vmap(reference._unravel_solution)(jnp.array(population))
        after, _ = reference.tell(KEY, population, jnp.array(losses.T.ravel()), strategy, reference.default_params)
    np.testing.assert_allclose(flat(grads), flat(THETA) - np.asarray(after.mean), rtol=1e-4, atol=1e-6)


def test_packing_changes_the_number_of_computed_updates_only():
    batch = levels(1, 9, 2, 10, 1, 8)
    whole = estimate(ES(lifetime=Walk(), num_updates=10), batch)
    packed = estimate(ES(lifetime=Walk(), num_updates=10, pack=2), batch)
    chex.assert_trees_all_close(packed[1], whole[1], rtol=1e-5, atol=1e-7)
    # ten updates of three roundings each
    assert_ulps(packed[2], whole[2], ulps=30, scale=1.0)
    np.testing.assert_array_equal(whole[2].per_lifetime.age, [1, 9, 2, 10, 1, 8])
    meta = {
        name: (float(whole[3].meta[name]), float(packed[3].meta[name]))
        for name in ("frac_updates_skipped", "frac_updates_wasted")
    }
    # packs of (1, 1), (2, 8) and (9, 10): 38 updates instead of 60, of which 31 are needed
    np.testing.assert_allclose(meta["frac_updates_skipped"], (0, 1 - 38 / 60), rtol=1e-5)
    np.testing.assert_allclose(meta["frac_updates_wasted"], (1 - 31 / 60, 1 - 31 / 38), rtol=1e-5)
    first = np.asarray(packed[3].steps.metrics["first"])
    assert np.isfinite(first[3]).all() and np.isnan(first[0, 1:]).all()


def test_members_of_a_pair_differ_in_theta_alone_with_common_noise_and_in_their_keys_without():
    batch = levels(5, 5)
    for common in (True, False):
        unperturbed = ES(lifetime=Walk(), num_updates=5, std=1e-30, shaping=Raw(), common_noise=common)
        grads = flat(estimate(unperturbed, batch)[1])
        assert (grads == 0).all() if common else (np.abs(grads) > 1e20).any()


def test_the_better_learner_is_kept():
    batch = levels(3, 3, 3)
    _, _, after, metrics = estimate(ES(lifetime=Walk(), num_updates=3), batch)
    losses = jax.vmap(Walk().meta_loss, (None, None, 0, 0))(KEY, THETA, batch, after.per_lifetime)[0]
    np.testing.assert_allclose(losses, metrics.meta["best_loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics.meta["norm"], (after.per_lifetime.x**2).sum(-1), rtol=1e-6)


def test_pair_sign_is_invariant_to_the_scale_of_the_losses():
    small, large = (
        estimate(ES(lifetime=Walk(), num_updates=3, std=0.1, shaping=PairSign()), levels(3, 3, scale=s))[1]
        for s in (1.0, 1e6)
    )
    # weights of one half, and noise of size 1 / sigma: a sum of four terms
    assert_ulps(small, large, ulps=4, scale=1 / 0.1)


def test_a_candidate_with_a_nonfinite_loss_never_wins():
    """The limit is at theta, so that one member of every pair has a NaN loss."""
    batch = levels(3, 3, 3, 3, limit=THETA["a"].sum())
    _, grads, after, metrics = estimate(ES(lifetime=Walk(), num_updates=3, std=1.0, shaping=PairSign()), batch)
    assert np.isfinite(flat(grads)).all() and (flat(grads) != 0).any()
    assert metrics.meta["frac_nonfinite"] == 0.5 and np.isfinite(metrics.meta["meta_loss"])
    # the descent direction is away from the limit
    assert np.asarray(grads["a"]).sum() > 0
    all_nonfinite = levels(3, 3, limit=-np.inf)
    _, grads, _, metrics = estimate(ES(lifetime=Walk(), num_updates=3, std=1e-3, shaping=PairSign()), all_nonfinite)
    np.testing.assert_array_equal(flat(grads), np.zeros(4))
    assert metrics.meta["frac_nonfinite"] == 1 and np.isnan(metrics.meta["meta_loss"])


def test_the_standard_deviation_follows_its_schedule():
    batch, schedule = levels(2, 2), optax.exponential_decay(0.5, 1, 0.5)
    estimator = ES(lifetime=Walk(), num_updates=2, std=schedule)
    _, first, after, _ = estimate(estimator, batch)
    assert after.shared == 1
    fixed = ES(lifetime=Walk(), num_updates=2, std=0.25)
    initial = after.replace(per_lifetime=estimate(fixed, batch)[0].per_lifetime)
    second = jax.jit(estimator.estimate)(KEY, THETA, batch, initial)[0]
    chex.assert_trees_all_close(second, estimate(fixed, batch)[1], rtol=1e-5)
    assert (flat(second) != flat(first)).all()


@dataclass(frozen=True)
class DriftOnGrid:
    """Lifetime whose meta-loss is the mean of a learned drift on a grid of ratios and advantages."""

    drift: LPO = LPO(hidden=8)

    def init(self, key, theta, level):
        return Point(jnp.zeros(()), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        return state.replace(age=state.age + 1), UpdateInfo({})

    def meta_loss(self, key, theta, level, state):
        log_ratio, advantage = jnp.meshgrid(jnp.linspace(-0.5, 0.5, 9), jnp.linspace(-2, 2, 5))
        progress = Progress(step=state.age, num_updates=level.num_updates)
        return self.drift(theta, log_ratio, advantage, progress).mean(), state, {}

    def age(self, state):
        return state.age


@pytest.mark.parametrize("shaping", [PairSign(), CentredRank(), ZScore()])
def test_the_initial_theta_of_a_learned_drift_is_not_a_symmetric_point(shaping):
    """The drift's network is even in theta, so that pairs around zero tie up to rounding; `init` is not zero.

    That a tie gives a zero gradient is a law of the shapings (`test_shaping.py`).
    """
    batch = Level(params=jnp.zeros(6), num_updates=jnp.ones(6, jnp.int32))
    lifetime, drift = DriftOnGrid(), DriftOnGrid().drift
    estimator, initial_theta = ES(lifetime=lifetime, num_updates=1, std=0.04, shaping=shaping), drift.init(KEY)
    state = estimator.init(KEY, (), batch)
    grads, *_ = jax.jit(estimator.estimate)(KEY, initial_theta, batch, state)
    assert (flat(grads) != 0).mean() > 0.99

    @jax.jit
    def pair_losses(theta):
        level, learner = jax.tree.map(lambda x: x[0], (batch, state.per_lifetime))
        eps = es.noise(KEY, theta)
        members = (jax.tree.map(lambda t, e, s=sign: t + s * e, theta, eps) for sign in (1, -1))
        return [lifetime.meta_loss(KEY, member, level, learner)[0] for member in members]

    first, second = pair_losses(jax.tree.map(jnp.zeros_like, initial_theta))
    assert first > 0.1
    assert_ulps(first, second, ulps=8 + 8 + 45, scale=1.0)  # inputs, hidden units and points are summed
    first, second = pair_losses(initial_theta)
    assert abs(first - second) > 0.01
    with pytest.raises(ValueError, match="init_scale must be positive"):
        LPO(init_scale=0)


def distribution(lifetime):
    def level(key):
        return Level(
            params={"target": jnp.ones(4), "scale": jnp.ones(()), "limit": jnp.float32(jnp.inf)},
            num_updates=jnp.int32(lifetime),
        )

    return DomainRandomisation(level)


ALGORITHMS = {
    "OpenES": lambda: Open_ES(16, THETA, optimizer=optax.adam(0.1), std_schedule=optax.constant_schedule(0.1)),
    "CMA-ES": lambda: CMA_ES(8, THETA),
    "SNES": lambda: SNES(16, THETA),
}


@pytest.mark.parametrize("name", [*ALGORITHMS, "ES"])
def test_every_strategy_descends(name):
    """All strategies run in `MetaLearner`; the best theta moves from N(0, I) to ones in ten steps of 0.1 theta."""
    walk = Walk(noise=0.0)
    if name == "ES":
        estimator, optimizer = ES(lifetime=walk, num_updates=10, std=0.1, shaping=PairSign()), optax.adam(0.1)
    else:
        estimator, optimizer = EvosaxES(lifetime=walk, algorithm=ALGORITHMS[name](), num_updates=10), optax.sgd(1.0)
    learner = MetaLearner(
        estimator=estimator, curriculum=distribution(10), score=Uniform(), optimizer=optimizer, num_lifetimes=8
    )
    state = jax.jit(learner.init)(KEY, THETA)
    initial_error = float(jnp.square(flat(THETA) - 1).mean())

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda s, i: learner.step(jax.random.fold_in(KEY, i), s), state, jnp.arange(60))

    state, metrics = train(state)
    assert np.square(flat(state.theta) - 1).mean() < 0.1 * initial_error
    assert np.isfinite(metrics["meta_loss"]).all() and (np.asarray(metrics["finished"]) == 8).all()


def test_theta_is_the_mean_of_the_strategy():
    batch = levels(3, 3)
    estimator = EvosaxES(lifetime=Walk(), algorithm=ALGORITHMS["CMA-ES"](), num_updates=3)
    _, grads, after, _ = estimate(estimator, batch)
    mean = estimator.algorithm.get_mean(after.shared)
    chex.assert_trees_all_close(jax.tree.map(jnp.subtract, THETA, grads), mean, rtol=1e-5)
    assert (flat(grads) != 0).all()


def test_a_candidate_with_a_nonfinite_loss_is_the_worst_of_its_population():
    batch = levels(3, 3, limit=THETA["a"].sum())
    _, grads, after, metrics = estimate(EvosaxES(lifetime=Walk(), algorithm=ALGORITHMS["SNES"](), num_updates=3), batch)
    assert np.isfinite(flat(grads)).all() and 0 < metrics.meta["frac_nonfinite"] < 1
    chex.assert_tree_all_finite(after.shared.mean)


def test_a_level_on_which_no_candidate_is_finite_is_left_out():
    """With a level of NaN for every candidate, the strategy gets the mean losses that it would get without it."""
    batch = levels(3, 3, 3)
    bad = batch.replace(params=batch.params | {"limit": jnp.array([np.inf, np.inf, -np.inf])})
    estimator = EvosaxES(lifetime=Walk(noise=0.0), algorithm=ALGORITHMS["SNES"](), num_updates=3)
    state, grads, _, metrics = estimate(estimator, bad)
    # the same strategy, keys and initial learners on the two other levels
    two = state.replace(per_lifetime=jax.tree.map(lambda x: x[:2], state.per_lifetime))
    expected, *_ = jax.jit(estimator.estimate)(KEY, THETA, jax.tree.map(lambda x: x[:2], bad), two)
    assert (flat(expected) != 0).all()
    np.testing.assert_allclose(flat(grads), flat(expected), rtol=1e-4)
    np.testing.assert_array_equal(metrics.finite, [True, True, False])
    np.testing.assert_allclose(metrics.meta["frac_nonfinite"], 1 / 3, rtol=1e-6)


def test_mean_losses_with_nonfinite_entries():
    nan = np.nan
    losses = np.array([[1.0, 2.0, 3.0, 4.0], [nan, nan, nan, nan], [3.0, nan, 1.0, 2.0]], np.float32)
    # the second candidate gets the worst mean of the others
    np.testing.assert_allclose(mean_losses(jnp.array(losses)), [2.0, 3.0, 2.0, 3.0])
    # no candidate is finite on all levels: the worst loss of a level replaces the NaN
    losses = np.array([[1.0, nan, 2.0], [nan, 5.0, 1.0], [2.0, 2.0, nan]], np.float32)
    np.testing.assert_allclose(mean_losses(jnp.array(losses)), [8 / 3, 3.0, 5 / 3], rtol=1e-6)
    np.testing.assert_array_equal(mean_losses(jnp.full((2, 3), nan)), np.zeros(3))
    np.testing.assert_array_equal(mean_losses(jnp.array([[1.0, jnp.inf]])), [1.0, 1.0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ES(lifetime=Walk(), num_updates=1, std=float("nan")), r"ES: std must be positive \(got nan\)"),
        (lambda: ES(lifetime=Walk(), num_updates=0), r"ES: num_updates must be at least 1 \(got 0\)"),
        (lambda: ES(lifetime=Walk(), num_updates=1, std=0.0), r"ES: std must be positive \(got 0.0\)"),
        (lambda: ES(lifetime=Walk(), num_updates=1, pack=0), "ES: pack must be at least 1 or None"),
        (
            lambda: EvosaxES(lifetime=Walk(), algorithm=ALGORITHMS["SNES"](), num_updates=0),
            "EvosaxES: num_updates must be at least 1",
        ),
        (
            lambda: EvosaxES(lifetime=Walk(), algorithm=ALGORITHMS["SNES"](), num_updates=1, pack=0),
            "EvosaxES: pack must be at least 1 or None",
        ),
        (
            lambda: EvosaxES(lifetime=Walk(), algorithm=SimpleGA(4, THETA), num_updates=1),
            "distribution-based algorithm of evosax.*got SimpleGA",
        ),
        (
            lambda: EvosaxES(lifetime=Walk(), algorithm=SV_CMA_ES(4, 2, THETA), num_updates=1),
            "theta is one mean.*SV_CMA_ES with num_populations=2",
        ),
        (
            lambda: EvosaxES(lifetime=Walk(), algorithm=SV_Open_ES(4, 2, THETA), num_updates=1),
            "theta is one mean.*SV_Open_ES with num_populations=2",
        ),
        (
            lambda: estimate(ES(lifetime=Walk(), num_updates=1, pack=2), levels(1, 1, 1)),
            r"pack must divide the number of levels \(got 2 and 3\)",
        ),
        (
            lambda: estimate(
                EvosaxES(lifetime=Walk(), algorithm=SNES(4, {"a": jnp.zeros(3)}), num_updates=1), levels(1)
            ),
            "theta has 4 numbers.*built for 3",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
