"""Returns and advantages compared with explicit sums, and with each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import returns
from tests.reference import naive
from tests.reference.trajectories import endings
from tests.reference.ulps import assert_ulps

T, B = 9, 5
GAMMA = 0.9


def arrays(seed, consistent=False):
    """`reward, discount, truncated, value, next_value`; if consistent, V(s'_t) = V(s_{t+1}) within an episode."""
    rng = np.random.default_rng(seed)
    discount, truncated = endings(rng, (T, B))
    reward, value, next_value = rng.normal(size=(3, T, B)) - 0.5
    if consistent:
        continues = (discount[:-1] == 1) & ~truncated[:-1]
        next_value[:-1] = np.where(continues, value[1:], next_value[:-1])
    return reward, discount, truncated, value, next_value


def as_jax(*xs):
    return tuple(jnp.array(x, bool if x.dtype == bool else jnp.float32) for x in xs)


gae = jax.jit(lambda lam, *xs: returns.gae(*xs, gamma=GAMMA, lam=lam), static_argnums=0)
discounted = jax.jit(partial(returns.discounted_returns, gamma=GAMMA))


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_gae_equals_the_sum(seed, lam):
    xs = arrays(seed)
    assert xs[2].any() and (xs[1] == 0).any()
    np.testing.assert_allclose(gae(lam, *as_jax(*xs)), naive.gae(*xs, GAMMA, lam), rtol=2e-5, atol=1e-5)


def test_gae_with_lambda_zero_and_one():
    reward, discount, truncated, value, next_value = xs = arrays(2, consistent=True)
    total = discounted(*as_jax(reward, discount, truncated, next_value))
    np.testing.assert_allclose(gae(1.0, *as_jax(*xs)), total - value, rtol=2e-5, atol=1e-5)
    one_step = reward + GAMMA * discount * next_value - value
    np.testing.assert_allclose(gae(0.0, *as_jax(*xs)), one_step, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_discounted_returns_equal_the_sum(seed):
    reward, discount, truncated, _, next_value = arrays(seed)
    expected = naive.discounted_returns(reward, discount, truncated, next_value, GAMMA)
    actual = discounted(*as_jax(reward, discount, truncated, next_value))
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-5)


def test_truncation_bootstraps_and_termination_does_not():
    reward, zero, one, never = np.full((T, B), -1.0), np.zeros((T, B)), np.ones((T, B)), np.zeros((T, B), bool)
    next_value = np.full((T, B), 100.0)
    middle = never.copy()
    middle[3] = True
    truncated = np.asarray(discounted(*as_jax(reward, one, middle, next_value)))
    terminated = np.asarray(discounted(*as_jax(reward, one - middle, never, next_value)))
    np.testing.assert_allclose(truncated[3], -1 + GAMMA * 100, rtol=1e-6)
    np.testing.assert_allclose(terminated[3], -1.0, rtol=1e-6)
    np.testing.assert_allclose(terminated[2], -1 - GAMMA, rtol=1e-6)
    np.testing.assert_array_equal(truncated[4:], terminated[4:])
    advantage = gae(0.7, *as_jax(reward, one, middle, zero, next_value))
    np.testing.assert_allclose(advantage[3], -1 + GAMMA * 100, rtol=1e-6)
    advantage = gae(0.7, *as_jax(reward, one - middle, never, zero, next_value))
    np.testing.assert_allclose(advantage[3], -1.0, rtol=1e-6)


def test_an_advantage_depends_on_its_own_and_later_rewards_of_its_episode():
    reward, *rest = as_jax(*arrays(3))
    last = np.asarray((rest[0] == 0) | rest[1])
    base = np.asarray(gae(0.7, reward, *rest))
    for s in range(T):
        changed = jnp.asarray(np.asarray(reward) + np.eye(T, dtype=np.float32)[:, [s]])
        depends = np.asarray(gae(0.7, changed, *rest)) != base
        expected = [[t <= s and not last[t:s, b].any() for b in range(B)] for t in range(T)]
        np.testing.assert_array_equal(depends, expected)


def test_running_returns():
    reward, discount, truncated, *_ = arrays(4)
    last = (discount == 0) | truncated
    initial = np.linspace(-2, 2, B)
    run = jax.jit(returns.running_returns)
    total, sums = run(*as_jax(reward, last, initial))
    running = initial.copy()
    for t in range(T):
        running += reward[t]
        np.testing.assert_allclose(sums[t], running, rtol=1e-5, atol=1e-6)
        running[last[t]] = 0
    np.testing.assert_allclose(total, running, rtol=1e-5, atol=1e-6)
    # two windows, the second one continued from the first, equal one window
    total_a, sums_a = run(*as_jax(reward[:4], last[:4], initial))
    total_b, sums_b = run(*as_jax(reward[4:], last[4:]), total_a)
    concatenated = total_b, np.concatenate([sums_a, sums_b])
    assert_ulps(concatenated, (total, sums), ulps=T, scale=np.abs(reward).max())  # T sums


def test_normalise():
    x = np.random.default_rng(5).normal(3, 7, size=(T, B))
    normalise = jax.jit(returns.normalise)
    np.testing.assert_allclose(normalise(*as_jax(x)), (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)
    # the mean of 32 equal numbers is exact
    np.testing.assert_array_equal(normalise(*as_jax(np.full((8, 4), -3.0))), np.zeros((8, 4)))


def retrace_by_sum(reward, discount, truncated, action_value, next_value, trace, gamma):
    """The definition as a sum over the steps until the episode ends: V(s'_t) is corrected by later errors."""
    total = np.zeros_like(reward)
    keep = discount * ~truncated
    for b in range(reward.shape[1]):
        for t in range(reward.shape[0]):
            total[t, b] = reward[t, b] + gamma * discount[t, b] * next_value[t, b]
            weight = gamma * keep[t, b]
            for s in range(t + 1, reward.shape[0]):
                weight *= trace[s, b]
                error = reward[s, b] + gamma * discount[s, b] * next_value[s, b] - action_value[s, b]
                total[t, b] += weight * error
                weight *= gamma * keep[s, b]
    return total


@pytest.mark.parametrize("seed", [0, 1])
def test_retrace_equals_the_sum(seed):
    reward, discount, truncated, action_value, next_value = arrays(seed)
    trace = np.random.default_rng(seed).random((T, B))
    xs = (reward, discount, truncated, action_value, next_value, trace)
    actual = jax.jit(partial(returns.retrace, gamma=GAMMA))(*as_jax(*xs))
    np.testing.assert_allclose(actual, retrace_by_sum(*xs, GAMMA), rtol=2e-5, atol=1e-5)


def test_retrace_with_traces_of_one_and_of_zero():
    reward, discount, truncated, value, next_value = arrays(2, consistent=True)
    # on policy, with Q(s_t, a_t) = V(s_t): the discounted return, bootstrapped at truncations and at the end
    xs = as_jax(reward, discount, truncated, value, next_value)
    total = discounted(*as_jax(reward, discount, truncated, next_value))
    on_policy = returns.retrace(*xs, jnp.ones((T, B)), gamma=GAMMA)
    np.testing.assert_allclose(on_policy, total, rtol=2e-5, atol=1e-5)
    one_step = returns.retrace(*xs, jnp.zeros((T, B)), gamma=GAMMA)
    np.testing.assert_allclose(one_step, reward + GAMMA * discount * next_value, rtol=2e-5, atol=1e-5)
