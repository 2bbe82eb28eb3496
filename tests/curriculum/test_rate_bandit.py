"""The bandit over learning rates: draws against the formula, long-run frequencies, and `LifetimeReward`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.curriculum import DomainRandomisation, LifetimeReward, RateBandit
from lopt.types import UNTRACKED, Level, RolloutScores

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
