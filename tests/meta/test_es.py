"""Evolution strategies: against evosax on the same noise, and what they save, keep and ignore."""

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
from lopt.meta.evosax_es import comparable
from lopt.objectives import LPO
from lopt.types import Level, Progress
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)
THETA = {"a": jnp.array([0.5, -1.0]), "b": jnp.array([[2.0], [0.3]])}


class Point(struct.PyTreeNode):
    """A sum of what was done, and how often."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class Walk:
    """Adds theta and noise; loses its distance from the target, or itself where theta goes beyond the level's limit."""

    noise: float = 0.1

    def init(self, key, theta, level):
        return Point(jax.random.normal(key, (4,)), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        alive = state.age < level.lifetime
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(theta)])
        x = state.x + 0.1 * flat + self.noise * jax.random.normal(key, (4,))
        return Point(jnp.where(alive, x, state.x), state.age + alive), {"first": x[0]}

    def meta_loss(self, key, theta, level, state):
        loss = ((state.x - level.params["target"]) ** 2).sum()
        lost = theta["a"].sum() > level.params["limit"]
        return jnp.where(lost, jnp.nan, level.params["scale"] * loss), state, {"norm": (state.x**2).sum()}

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
    return Level(params=params, lifetime=jnp.array(lifetimes, jnp.int32))


def estimate(estimator, some, key=KEY):
    state = jax.jit(estimator.init)(jax.random.key(1), THETA, some)
    return state, *jax.jit(estimator.estimate)(key, THETA, some, state)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_the_gradient_is_open_es_on_the_same_noise():
    """Each pair's losses from lives by hand; evosax combines them."""
    num, std, walk = 4, 0.3, Walk()
    some = levels(3, 2, 3, 1)
    state, grads, _, metrics = estimate(ES(walk, 3, std, CentredRank()), some)
    key_noise, key_lives, _ = jax.random.split(KEY, 3)
    eps = [es.noise(key, THETA) for key in jax.random.split(key_noise, num)]
    losses = np.zeros((num, 2))
    for n, (key,) in enumerate(jax.random.split(key_lives, (num, 1))):
        key_updates, key_loss = jax.random.split(key)
        level, newborn = jax.tree.map(lambda x, n=n: x[n], (some, state.lives))
        for member, sign in enumerate((1, -1)):
            theta = jax.tree.map(lambda t, e, s=sign: t + s * std * e, THETA, eps[n])
            learner = newborn
            for i in range(3):
                learner, _ = walk.step(jax.random.fold_in(key_updates, i), theta, level, learner)
            losses[n, member] = walk.meta_loss(key_loss, theta, level, learner)[0]
    np.testing.assert_allclose(metrics.meta["meta_loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics.meta["best_loss"], losses.min(1), rtol=1e-5)
    peer = Open_ES(2 * num, THETA, True, optax.sgd(1.0), optax.constant_schedule(std))
    noise = np.stack([flat(e) for e in eps])
    population = flat(THETA) + std * np.concatenate([noise, -noise])
    with jax.numpy_rank_promotion("allow"):
        start = peer.init(KEY, THETA, peer.default_params)
        population = jax.vmap(peer._unravel_solution)(jnp.array(population))
        after, _ = peer.tell(KEY, population, jnp.array(losses.T.ravel()), start, peer.default_params)
    np.testing.assert_allclose(flat(grads), flat(THETA) - np.asarray(after.mean), rtol=1e-4, atol=1e-6)


def test_packing_changes_nothing_but_the_work():
    some = levels(1, 9, 2, 10, 1, 8)
    whole = estimate(ES(Walk(), 10), some)
    packed = estimate(ES(Walk(), 10, pack=2), some)
    chex.assert_trees_all_close(packed[1], whole[1], rtol=1e-5, atol=1e-7)
    # ten updates of three roundings each
    assert_ulps(packed[2], whole[2], ulps=30, scale=1.0)
    np.testing.assert_array_equal(whole[2].lives.age, [1, 9, 2, 10, 1, 8])
    meta = {name: (float(whole[3].meta[name]), float(packed[3].meta[name])) for name in ("saved", "masked")}
    # packs of (1, 1), (2, 8) and (9, 10): 38 updates where 60 were, and 31 are needed
    np.testing.assert_allclose(meta["saved"], (0, 1 - 38 / 60), rtol=1e-5)
    np.testing.assert_allclose(meta["masked"], (1 - 31 / 60, 1 - 31 / 38), rtol=1e-5)
    first = np.asarray(packed[3].steps["first"])
    assert np.isfinite(first[3]).all() and np.isnan(first[0, 1:]).all()


def test_the_two_of_a_pair_differ_by_theta_alone_or_by_their_keys_too():
    some = levels(5, 5)
    for common in (True, False):
        still = ES(Walk(), 5, 1e-30, Raw(), common_noise=common)
        grads = flat(estimate(still, some)[1])
        assert (grads == 0).all() if common else (np.abs(grads) > 1e20).any()


def test_the_better_learner_goes_on():
    some = levels(3, 3, 3)
    _, _, after, metrics = estimate(ES(Walk(), 3), some)
    losses = jax.vmap(Walk().meta_loss, (None, None, 0, 0))(KEY, THETA, some, after.lives)[0]
    np.testing.assert_allclose(losses, metrics.meta["best_loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics.meta["norm"], (after.lives.x**2).sum(-1), rtol=1e-6)


def test_levels_of_any_scale_count_alike_by_sign():
    small, large = (estimate(ES(Walk(), 3, 0.1, PairSign()), levels(3, 3, scale=s))[1] for s in (1.0, 1e6))
    # weights of one half, and noise of size one over the deviation: a sum of four terms
    assert_ulps(small, large, ulps=4, scale=1 / 0.1)


def test_a_lost_candidate_never_wins():
    """The limit lies where theta is: of every pair one is lost."""
    some = levels(3, 3, 3, 3, limit=THETA["a"].sum())
    _, grads, after, metrics = estimate(ES(Walk(), 3, 1.0, PairSign()), some)
    assert np.isfinite(flat(grads)).all() and (flat(grads) != 0).any()
    assert metrics.meta["frac_nonfinite"] == 0.5 and np.isfinite(metrics.meta["meta_loss"])
    # downhill is away from the limit
    assert np.asarray(grads["a"]).sum() > 0
    everyone = levels(3, 3, limit=-np.inf)
    lost = estimate(ES(Walk(), 3, 1e-3, PairSign()), everyone)
    np.testing.assert_array_equal(flat(lost[1]), np.zeros(4))
    assert lost[3].meta["frac_nonfinite"] == 1 and np.isnan(lost[3].meta["meta_loss"])


def test_the_standard_deviation_follows_its_schedule():
    some, schedule = levels(2, 2), optax.exponential_decay(0.5, 1, 0.5)
    estimator = ES(Walk(), 2, schedule)
    _, first, after, _ = estimate(estimator, some)
    assert after.shared == 1
    fixed = ES(Walk(), 2, 0.25)
    fresh = after.replace(lives=estimate(fixed, some)[0].lives)
    second = jax.jit(estimator.estimate)(KEY, THETA, some, fresh)[0]
    chex.assert_trees_all_close(second, estimate(fixed, some)[1], rtol=1e-5)
    assert (flat(second) != flat(first)).all()


@dataclass(frozen=True)
class Drifting:
    """Nothing but a learned drift: what it charges on a grid of ratios and advantages."""

    drift: LPO = LPO(hidden=8)

    def init(self, key, theta, level):
        return Point(jnp.zeros(()), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        return state.replace(age=state.age + 1), {}

    def meta_loss(self, key, theta, level, state):
        log_ratio, advantage = jnp.meshgrid(jnp.linspace(-0.5, 0.5, 9), jnp.linspace(-2, 2, 5))
        progress = Progress(step=state.age, lifetime=level.lifetime)
        return self.drift(theta, log_ratio, advantage, progress).mean(), state, {}

    def age(self, state):
        return state.age


@pytest.mark.parametrize("shaping", [PairSign(), CentredRank(), ZScore()])
def test_a_learned_drift_does_not_start_where_pairs_cannot_differ(shaping):
    """The network is even in theta: around zero a pair ties, but for rounding. `init` is not there.

    That a tie is no direction is a law of the shapings (`test_shaping.py`).
    """
    some = Level(params=jnp.zeros(6), lifetime=jnp.ones(6, jnp.int32))
    lifetime, drift = Drifting(), Drifting().drift
    estimator, born = ES(lifetime, 1, 0.04, shaping), drift.init(KEY)
    state = estimator.init(KEY, (), some)
    alive, *_ = jax.jit(estimator.estimate)(KEY, born, some, state)
    assert (flat(alive) != 0).mean() > 0.99

    @jax.jit
    def pair(theta):
        one, learner = jax.tree.map(lambda x: x[0], (some, state.lives))
        eps = es.noise(KEY, theta)
        sides = (jax.tree.map(lambda t, e, s=sign: t + s * e, theta, eps) for sign in (1, -1))
        return [lifetime.meta_loss(KEY, side, one, learner)[0] for side in sides]

    first, second = pair(jax.tree.map(jnp.zeros_like, born))
    assert first > 0.1
    assert_ulps(first, second, ulps=8 + 8 + 45, scale=1.0)  # inputs, hidden units and points are summed
    first, second = pair(born)
    assert abs(first - second) > 0.01
    with pytest.raises(ValueError, match="init_scale must be positive"):
        LPO(init_scale=0)


def distribution(lifetime):
    def level(key):
        return Level(
            params={"target": jnp.ones(4), "scale": jnp.ones(()), "limit": jnp.float32(jnp.inf)},
            lifetime=jnp.int32(lifetime),
        )

    return DomainRandomisation(level)


ALGORITHMS = {
    "OpenES": lambda: Open_ES(16, THETA, optimizer=optax.adam(0.1), std_schedule=optax.constant_schedule(0.1)),
    "CMA-ES": lambda: CMA_ES(8, THETA),
    "SNES": lambda: SNES(16, THETA),
}


@pytest.mark.parametrize("name", [*ALGORITHMS, "ES"])
def test_every_strategy_descends(name):
    """In the same outer loop; the best theta makes ten steps of 0.1 from N(0, I) to a target of ones."""
    walk = Walk(noise=0.0)
    if name == "ES":
        estimator, optimizer = ES(walk, 10, 0.1, PairSign()), optax.adam(0.1)
    else:
        estimator, optimizer = EvosaxES(walk, ALGORITHMS[name](), 10), optax.sgd(1.0)
    learner = MetaLearner(estimator, distribution(10), Uniform(), optimizer, 8)
    state = jax.jit(learner.init)(KEY, THETA)
    start = float(jnp.square(flat(THETA) - 1).mean())

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda s, i: learner.step(jax.random.fold_in(KEY, i), s), state, jnp.arange(60))

    state, metrics = train(state)
    assert np.square(flat(state.theta) - 1).mean() < 0.1 * start
    assert np.isfinite(metrics["meta_loss"]).all() and (np.asarray(metrics["finished"]) == 8).all()


def test_theta_is_the_mean_of_the_strategy():
    some = levels(3, 3)
    estimator = EvosaxES(Walk(), ALGORITHMS["CMA-ES"](), 3)
    _, grads, after, _ = estimate(estimator, some)
    mean = estimator.algorithm.get_mean(after.shared)
    chex.assert_trees_all_close(jax.tree.map(jnp.subtract, THETA, grads), mean, rtol=1e-5)
    assert (flat(grads) != 0).all()


def test_a_lost_candidate_is_the_worst_of_its_population():
    some = levels(3, 3, limit=THETA["a"].sum())
    _, grads, after, metrics = estimate(EvosaxES(Walk(), ALGORITHMS["SNES"](), 3), some)
    assert np.isfinite(flat(grads)).all() and 0 < metrics.meta["frac_nonfinite"] < 1
    chex.assert_tree_all_finite(after.shared.mean)


def test_a_level_on_which_nobody_is_finite_does_not_count():
    """With a level of NaN for every candidate, the strategy is told what it would be told without that level."""
    some = levels(3, 3, 3)
    bad = some.replace(params=some.params | {"limit": jnp.array([np.inf, np.inf, -np.inf])})
    estimator = EvosaxES(Walk(noise=0.0), ALGORITHMS["SNES"](), 3)
    state, grads, _, metrics = estimate(estimator, bad)
    # the same strategy, keys and newborns on the two levels that are left
    two = state.replace(lives=jax.tree.map(lambda x: x[:2], state.lives))
    expected, *_ = jax.jit(estimator.estimate)(KEY, THETA, jax.tree.map(lambda x: x[:2], bad), two)
    assert (flat(expected) != 0).all()
    np.testing.assert_allclose(flat(grads), flat(expected), rtol=1e-4)
    np.testing.assert_array_equal(metrics.finite, [True, True, False])
    np.testing.assert_allclose(metrics.meta["frac_nonfinite"], 1 / 3, rtol=1e-6)


def test_losses_of_candidates_are_compared_where_they_can_be():
    nan = np.nan
    losses = np.array([[1.0, 2.0, 3.0, 4.0], [nan, nan, nan, nan], [3.0, nan, 1.0, 2.0]], np.float32)
    # the second candidate is as bad as the worst of the others
    np.testing.assert_allclose(comparable(jnp.array(losses)), [2.0, 3.0, 2.0, 3.0])
    # nobody is finite everywhere: the worst of a level stands in
    losses = np.array([[1.0, nan, 2.0], [nan, 5.0, 1.0], [2.0, 2.0, nan]], np.float32)
    np.testing.assert_allclose(comparable(jnp.array(losses)), [8 / 3, 3.0, 5 / 3], rtol=1e-6)
    np.testing.assert_array_equal(comparable(jnp.full((2, 3), nan)), np.zeros(3))
    np.testing.assert_array_equal(comparable(jnp.array([[1.0, jnp.inf]])), [1.0, 1.0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ES(Walk(), 1, std=float("nan")), r"ES: std must be positive \(got nan\)"),
        (lambda: ES(Walk(), 0), r"ES: num_updates must be at least 1 \(got 0\)"),
        (lambda: ES(Walk(), 1, std=0.0), r"ES: std must be positive \(got 0.0\)"),
        (lambda: ES(Walk(), 1, pack=0), "ES: pack must be at least 1 or None"),
        (lambda: EvosaxES(Walk(), ALGORITHMS["SNES"](), 0), "EvosaxES: num_updates must be at least 1"),
        (lambda: EvosaxES(Walk(), ALGORITHMS["SNES"](), 1, pack=0), "EvosaxES: pack must be at least 1 or None"),
        (lambda: EvosaxES(Walk(), SimpleGA(4, THETA), 1), "distribution-based algorithm of evosax.*got SimpleGA"),
        (lambda: EvosaxES(Walk(), SV_CMA_ES(4, 2, THETA), 1), "theta is one mean.*SV_CMA_ES with num_populations=2"),
        (lambda: EvosaxES(Walk(), SV_Open_ES(4, 2, THETA), 1), "theta is one mean.*SV_Open_ES with num_populations=2"),
        (
            lambda: estimate(ES(Walk(), 1, pack=2), levels(1, 1, 1)),
            r"pack must divide the number of levels \(got 2 and 3\)",
        ),
        (
            lambda: estimate(EvosaxES(Walk(), SNES(4, {"a": jnp.zeros(3)}), 1), levels(1)),
            "theta has 4 numbers.*built for 3",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
