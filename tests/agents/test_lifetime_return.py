"""The return over a whole lifetime, with unfinished episodes included."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import LifetimeReturn, ReturnAccumulator
from lopt.objectives import A2C
from lopt.returns import running_returns
from tests.reference import pair
from tests.reference.lifetimes import ppo, random_theta, rl_lifetime

KEY = jax.random.key(0)
N, T, B = 6, 7, 3


def reference_curve(reward, last):
    """The learning curve from all rewards `[N, T, B]`, episode by episode."""
    started = [[] for _ in range(N)]
    for rewards, ends in zip(reward.reshape(N * T, B).T, last.reshape(N * T, B).T, strict=True):
        start = 0
        for end in [*(np.flatnonzero(ends) + 1), N * T]:
            if end > start:
                started[start // T].append(rewards[start:end].sum())
            start = end
    curve = []
    for returns in started:
        curve.append(np.mean(returns) if returns else curve[-1])
    return np.array(curve)


def accumulated(reward, last):
    """A `ReturnAccumulator` and the running return after N rollouts."""

    def body(carry, x):
        returns, running = carry
        update, reward, last = x
        running, sums = running_returns(reward, last, running)
        return (returns.add(update, last, sums), running), None

    initial = (ReturnAccumulator.zeros(N, B), jnp.zeros(B))
    return jax.jit(lambda *xs: jax.lax.scan(body, initial, xs)[0])(jnp.arange(N), reward, last)


@pytest.mark.parametrize("p_end", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_the_curve_equals_the_reference(seed, p_end):
    rng = np.random.default_rng(seed)
    # small integers: sums are exact
    reward, last = rng.integers(-3, 4, (N, T, B)).astype(np.float32), rng.random((N, T, B)) < p_end
    returns, running = accumulated(reward, last)
    expected = reference_curve(reward, last)
    np.testing.assert_allclose(returns.curve(running, jnp.int32(N)), expected, rtol=1e-6)
    np.testing.assert_allclose(returns.mean(running, jnp.int32(N)), expected.mean(), rtol=1e-5, atol=1e-6)


def test_the_mean_is_not_biased_towards_short_episodes():
    """Half the environments have episodes of 2 steps, the others one that never ends."""
    last = np.zeros((N, T, 64), bool)
    last.reshape(N * T, 64)[1::2, ::2] = True
    returns, running = ReturnAccumulator.zeros(N, 64), jnp.zeros(64)
    ended = []
    for n in range(N):
        running, sums = running_returns(jnp.ones((T, 64)), jnp.asarray(last[n]), running)
        returns = returns.add(jnp.int32(n), jnp.asarray(last[n]), sums)
        ended.append(np.asarray(sums)[last[n]].mean())
    assert np.mean(ended) == 2
    # the 32 long episodes started in the first update, together with 4 short ones in each other environment
    first = (32 * 42 + 32 * 4 * 2) / (32 + 32 * 4)
    np.testing.assert_allclose(returns.mean(running, jnp.int32(N)), (first + 2 * (N - 1)) / N, rtol=1e-5)


def test_the_meta_loss_is_minus_the_mean_and_constant_after_the_lifetime():
    lifetime = LifetimeReturn(ppo(tracked_updates=5), scale=3.0)
    level = pair.level(num_updates=3)
    state = jax.jit(lifetime.init)(KEY, (), level)
    step, means = jax.jit(lifetime.step), []
    for i in range(5):
        state, _ = step(jax.random.fold_in(KEY, i), (), level, state)
        loss, _, metrics = jax.jit(lifetime.meta_loss)(KEY, (), level, state)
        means.append(float(metrics["lifetime_return"]))
        np.testing.assert_allclose(loss, -means[-1] / 3, rtol=1e-6)
    assert lifetime.age(state) == 3 and means[2] == means[3] == means[4]
    curve = state.returns.curve(state.running_return, state.age)
    np.testing.assert_array_equal(np.isnan(curve), [False] * 3 + [True] * 2)


def test_a_grid_agents_return_of_the_second_half():
    """The fitness is the mean of the learning curve from the first update n >= N / 2 on."""
    lifetime = LifetimeReturn(rl_lifetime(A2C(), baseline=None, tracked_updates=6), start=0.5)
    level = pair.level(num_updates=5)
    state = jax.jit(lifetime.init)(KEY, (), level)
    for i in range(6):
        state, _ = jax.jit(lifetime.step)(jax.random.fold_in(KEY, i), (), level, state)
    curve = np.asarray(state.returns.curve(state.running_return, state.age))
    assert np.isnan(curve[5]) and len(set(curve[:5])) > 1
    loss, _, metrics = jax.jit(lifetime.meta_loss)(KEY, (), level, state)
    np.testing.assert_allclose(metrics["lifetime_return"], curve[3:5].mean(), rtol=1e-6)
    np.testing.assert_allclose(loss, -metrics["lifetime_return"])


def test_tracking_returns_changes_nothing_else_in_an_update():
    tracked, plain = rl_lifetime(tracked_updates=2), rl_lifetime()
    theta, level = random_theta(plain.objective, 0), pair.level(num_updates=2)
    states = [jax.jit(lifetime.init)(KEY, theta, level) for lifetime in (tracked, plain)]
    (after, info), (expected, plain_info) = (
        jax.jit(lifetime.step)(KEY, theta, level, state)
        for lifetime, state in zip((tracked, plain), states, strict=True)
    )
    chex.assert_trees_all_close((after.replace(returns=()), info), (expected, plain_info), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="the meta-loss needs tracked_updates=0"):
        tracked.meta_loss(KEY, theta, level, after)


def test_bad_values():
    with pytest.raises(ValueError, match=r"start must be in \[0, 1\) \(got 1.0\)"):
        LifetimeReturn(ppo(tracked_updates=5), start=1.0)
    with pytest.raises(ValueError, match=r"RLLifetime: tracked_updates must not be negative \(got -1\)"):
        rl_lifetime(tracked_updates=-1)
    with pytest.raises(ValueError, match="scale must be positive"):
        LifetimeReturn(ppo(tracked_updates=5), scale=0.0)
    with pytest.raises(ValueError, match="tracked_updates is the largest number of updates"):
        LifetimeReturn(ppo())
    with pytest.raises(ValueError, match=r"tracked_updates must not be negative \(got -1\)"):
        ppo(tracked_updates=-1)
