"""A lifetime judged by all of its episodes, unfinished ones included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import LifeReturn, LifetimeReturns
from lopt.returns import running_returns
from tests.reference import pair
from tests.reference.lives import ppo

KEY = jax.random.key(0)
N, T, B = 6, 7, 3


def by_hand(reward, last):
    """The curve from a complete record `[N, T, B]`, episode by episode."""
    begun = [[] for _ in range(N)]
    for rewards, ends in zip(reward.reshape(N * T, B).T, last.reshape(N * T, B).T, strict=True):
        start = 0
        for end in [*(np.flatnonzero(ends) + 1), N * T]:
            if end > start:
                begun[start // T].append(rewards[start:end].sum())
            start = end
    curve = []
    for returns in begun:
        curve.append(np.mean(returns) if returns else curve[-1])
    return np.array(curve)


def tracked(reward, last):
    """The same by `LifetimeReturns`, rollout by rollout."""

    def body(carry, x):
        returns, earned = carry
        update, reward, last = x
        earned, sums = running_returns(reward, last, earned)
        return (returns.add(update, last, sums), earned), None

    start = (LifetimeReturns.zeros(N, B), jnp.zeros(B))
    return jax.jit(lambda *xs: jax.lax.scan(body, start, xs)[0])(jnp.arange(N), reward, last)


@pytest.mark.parametrize("often", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_the_curve_equals_the_record_taken_apart(seed, often):
    rng = np.random.default_rng(seed)
    # small integers: sums are exact
    reward, last = rng.integers(-3, 4, (N, T, B)).astype(np.float32), rng.random((N, T, B)) < often
    returns, earned = tracked(reward, last)
    expected = by_hand(reward, last)
    np.testing.assert_allclose(returns.curve(earned, jnp.int32(N)), expected, rtol=1e-6)
    np.testing.assert_allclose(returns.mean(earned, jnp.int32(N)), expected.mean(), rtol=1e-5, atol=1e-6)


def test_short_episodes_are_not_all_there_is():
    """Episodes of 2 or 100 steps, half each: those that ended have the return 2, all that began 23."""
    last = np.zeros((N, T, 64), bool)
    last.reshape(N * T, 64)[1::2, ::2] = True
    returns, earned = LifetimeReturns.zeros(N, 64), jnp.zeros(64)
    ended = []
    for n in range(N):
        earned, sums = running_returns(jnp.ones((T, 64)), jnp.asarray(last[n]), earned)
        returns = returns.add(jnp.int32(n), jnp.asarray(last[n]), sums)
        ended.append(np.asarray(sums)[last[n]].mean())
    assert np.mean(ended) == 2
    # the half that never ends began in the first update, where it is one of 4 or 5 episodes
    first = (32 * 42 + 32 * 4 * 2) / (32 + 32 * 4)
    np.testing.assert_allclose(returns.mean(earned, jnp.int32(N)), (first + 2 * (N - 1)) / N, rtol=1e-5)


def test_minus_the_mean_is_the_loss_and_nothing_counts_after_the_end():
    lifetime = LifeReturn(ppo(tracked_updates=5), scale=3.0)
    level = pair.level(lifetime=3)
    state = jax.jit(lifetime.init)(KEY, (), level)
    step, means = jax.jit(lifetime.step), []
    for i in range(5):
        state, _ = step(jax.random.fold_in(KEY, i), (), level, state)
        loss, _, told = jax.jit(lifetime.meta_loss)(KEY, (), level, state)
        means.append(float(told["life_return"]))
        np.testing.assert_allclose(loss, -means[-1] / 3, rtol=1e-6)
    assert lifetime.age(state) == 3 and means[2] == means[3] == means[4]
    curve = state.returns.curve(state.earned, state.age)
    np.testing.assert_array_equal(np.isnan(curve), [False] * 3 + [True] * 2)


def test_bad_values():
    with pytest.raises(ValueError, match="scale must be positive"):
        LifeReturn(ppo(tracked_updates=5), scale=0.0)
    with pytest.raises(ValueError, match="tracked_updates is the number of updates"):
        LifeReturn(ppo())
    with pytest.raises(ValueError, match=r"tracked_updates must not be negative \(got -1\)"):
        ppo(tracked_updates=-1)
