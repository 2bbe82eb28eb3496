"""Domain randomisation, fixed sets of levels, and the bandit over learning rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lopt.curriculum import DomainRandomisation, FrozenSet, LifetimeReward, RateBandit
from lopt.types import NEW, UNTRACKED, Level, RolloutScores


def generator(key):
    return Level(params={"x": jax.random.uniform(key)}, num_updates=jnp.int32(3))


def test_levels_are_new_and_different():
    curriculum = DomainRandomisation(generator)
    state, before = curriculum.init(jax.random.key(0), 40)
    before = before.replace(slot=before.slot.at[:20].set(UNTRACKED))
    finished = jnp.arange(40) % 2 == 0
    _, after = curriculum.exchange(jax.random.key(1), state, before, jnp.full(40, jnp.nan), finished)
    old, new = np.asarray(before.levels.params["x"]), np.asarray(after.levels.params["x"])
    assert len({*old.tolist(), *new.tolist()}) == 60
    np.testing.assert_array_equal(old[1::2], new[1::2])
    assert (after.slot[::2] == NEW).all()
    assert (after.slot[1::2] == before.slot[1::2]).all()
    assert curriculum.metrics(state) == {}


SIZE = 6


def levels(size=SIZE):
    return Level(params={"x": jnp.arange(size) * 10.0}, num_updates=jnp.arange(size) + 1)


def test_levels_are_drawn_uniformly_and_with_replacement():
    frozen = FrozenSet(levels())
    state, assignment = frozen.init(jax.random.key(0), 600)
    _, after = frozen.exchange(jax.random.key(1), state, assignment, jnp.zeros(600), jnp.arange(600) < 400)
    for drawn in (assignment.levels, after.levels):
        np.testing.assert_array_equal(drawn.params["x"], 10 * (np.asarray(drawn.num_updates) - 1))
        assert stats.chisquare(np.bincount(drawn.num_updates, minlength=SIZE + 1)[1:]).pvalue > 1e-3
    np.testing.assert_array_equal(after.levels.num_updates[400:], assignment.levels.num_updates[400:])
    assert (after.levels.num_updates[:400] != assignment.levels.num_updates[:400]).any()


def test_the_set_is_carried_in_the_state():
    frozen = FrozenSet(levels())
    state, assignment = frozen.init(jax.random.key(0), 3)
    other = state.replace(levels=jax.tree.map(lambda x: -x, state.levels))
    _, after = frozen.exchange(jax.random.key(1), other, assignment, jnp.zeros(3), jnp.ones(3, bool))
    assert (after.levels.num_updates < 0).all()
    assert isinstance(hash(frozen), int)
    assert frozen != FrozenSet(levels())


@pytest.mark.parametrize(
    "bad",
    [
        Level(params={}, num_updates=jnp.int32(3)),
        Level(params={"x": jnp.zeros((0, 2))}, num_updates=jnp.zeros(0, jnp.int32)),
        Level(params={"x": jnp.zeros((4, 2))}, num_updates=jnp.zeros(3, jnp.int32)),
    ],
)
def test_the_leaves_share_a_leading_axis(bad):
    with pytest.raises(ValueError, match="leaves must share a leading axis .got shapes"):
        FrozenSet(bad)


ARMS = ((1.0, 0.5), (2.0, 1.0), (4.0, 3.0))
N = 6
KEY = jax.random.key(0)


def level(key):
    return Level(params=jax.random.normal(key), num_updates=jnp.int32(3))


BANDIT = RateBandit(curriculum=DomainRandomisation(level), arms=ARMS)
INIT, EXCHANGE = jax.jit(BANDIT.init, static_argnums=1), jax.jit(BANDIT.exchange)


def test_it_records_the_last_returns_of_each_arm_and_draws_by_the_formula():
    state, assignment = INIT(KEY, N)
    rng, recorded, count = np.random.default_rng(0), [[], [], []], np.ones(3)
    for key in jax.random.split(KEY, 20):
        arm = np.asarray(state.arm)
        np.testing.assert_array_equal(assignment.levels.rates.policy, np.array(ARMS, np.float32)[arm, 0])
        np.testing.assert_array_equal(assignment.levels.rates.prediction, np.array(ARMS, np.float32)[arm, 1])
        scores, finished = rng.choice([0.1, -0.2, 0.3, np.nan, -np.inf], N), rng.random(N) < 0.6
        slot = np.where(rng.random(N) < 0.2, UNTRACKED, np.asarray(assignment.slot))
        for n in range(N):
            if finished[n] and np.isfinite(scores[n]) and slot[n] != UNTRACKED:
                recorded[arm[n]].append(np.float32(scores[n]))
                count[arm[n]] += 1
        assignment = assignment.replace(slot=jnp.asarray(slot))
        state, assignment = EXCHANGE(key, state, assignment, jnp.array(scores, jnp.float32), jnp.array(finished))
        np.testing.assert_array_equal(np.asarray(state.arm)[~finished], arm[~finished])
    assert max(map(len, recorded)) > 10 > min(map(len, recorded)) > 0
    mean = np.array([np.mean(returns[-10:]) for returns in recorded])
    np.testing.assert_array_equal(state.count, count)
    odds = np.exp((mean + 0.2 / np.sqrt(count)) / 0.1)
    np.testing.assert_allclose(BANDIT.probabilities(state), odds / odds.sum(), rtol=1e-4)
    metrics = BANDIT.metrics(state)
    np.testing.assert_allclose(sum(metrics[f"arm_{i}"] for i in range(3)), 1, rtol=1e-6)


def test_arms_are_drawn_by_their_mean_return_and_no_arm_is_starved():
    arm_returns = jnp.array([0.0, 0.3, 0.1])

    def step(carry, key):
        state, assignment = carry
        state, assignment = BANDIT.exchange(key, state, assignment, arm_returns[state.arm], jnp.ones(N, bool))
        return (state, assignment), state.arm

    _, arms = jax.jit(lambda carry: jax.lax.scan(step, carry, jax.random.split(KEY, 300)))(INIT(KEY, N))
    frequency = np.bincount(np.asarray(arms).ravel(), minlength=3) / arms.size
    odds = np.exp(np.asarray(arm_returns) / 0.1)
    np.testing.assert_allclose(frequency, odds / odds.sum(), atol=0.05)
    assert (frequency > 0.01).all()


def test_lifetime_reward_is_the_mean_over_the_lifetime():
    score, sampled = LifetimeReward(), level(KEY).replace(num_updates=jnp.int32(5))
    state = score.init(KEY, sampled)
    for rewards in ([1.0, 2.0, 3.0], [4.0, 5.0, 99.0]):
        state = score.advance(KEY, sampled, state, RolloutScores(jnp.array(rewards), jnp.zeros(3)))
    assert score.score(KEY, sampled, None, state) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ()}, "pairs of positive factors"),
        ({"arms": ((1.0, 0.0),)}, "pairs of positive factors"),
        ({"temperature": 0.0}, r"temperature must be positive \(got 0.0\)"),
        ({"window": 0}, "window must be at least 1"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        RateBandit(**({"curriculum": DomainRandomisation(level), "arms": ARMS} | changes))
