"""Returns and advantages against sums written out, and against each other."""

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
    """`reward, discount, truncated, value, next_value`; if consistent, V(s'_t) is V(s_{t+1}) within an episode."""
    rng = np.random.default_rng(seed)
    discount, truncated = endings(rng, (T, B))
    reward, value, next_value = rng.normal(size=(3, T, B)) - 0.5
    if consistent:
        goes_on = (discount[:-1] == 1) & ~truncated[:-1]
        next_value[:-1] = np.where(goes_on, value[1:], next_value[:-1])
    return reward, discount, truncated, value, next_value


def put(*xs):
    return tuple(jnp.array(x, bool if x.dtype == bool else jnp.float32) for x in xs)


gae = jax.jit(lambda lam, *xs: returns.gae(*xs, gamma=GAMMA, lam=lam), static_argnums=0)
discounted = jax.jit(partial(returns.discounted_returns, gamma=GAMMA))


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_gae_equals_the_sum(seed, lam):
    xs = arrays(seed)
    assert xs[2].any() and (xs[1] == 0).any()
    np.testing.assert_allclose(gae(lam, *put(*xs)), naive.gae(*xs, GAMMA, lam), rtol=2e-5, atol=1e-5)


def test_gae_at_the_ends_of_lambda():
    reward, discount, truncated, value, next_value = xs = arrays(2, consistent=True)
    total = discounted(*put(reward, discount, truncated, next_value))
    np.testing.assert_allclose(gae(1.0, *put(*xs)), total - value, rtol=2e-5, atol=1e-5)
    one_step = reward + GAMMA * discount * next_value - value
    np.testing.assert_allclose(gae(0.0, *put(*xs)), one_step, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_discounted_returns_equal_the_sum(seed):
    reward, discount, truncated, _, next_value = arrays(seed)
    expected = naive.discounted_returns(reward, discount, truncated, next_value, GAMMA)
    found = discounted(*put(reward, discount, truncated, next_value))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_truncation_bootstraps_and_termination_does_not():
    reward, zero, one, never = np.full((T, B), -1.0), np.zeros((T, B)), np.ones((T, B)), np.zeros((T, B), bool)
    next_value = np.full((T, B), 100.0)
    middle = never.copy()
    middle[3] = True
    truncated = np.asarray(discounted(*put(reward, one, middle, next_value)))
    terminated = np.asarray(discounted(*put(reward, one - middle, never, next_value)))
    np.testing.assert_allclose(truncated[3], -1 + GAMMA * 100, rtol=1e-6)
    np.testing.assert_allclose(terminated[3], -1.0, rtol=1e-6)
    np.testing.assert_allclose(terminated[2], -1 - GAMMA, rtol=1e-6)
    np.testing.assert_array_equal(truncated[4:], terminated[4:])
    advantage = gae(0.7, *put(reward, one, middle, zero, next_value))
    np.testing.assert_allclose(advantage[3], -1 + GAMMA * 100, rtol=1e-6)
    advantage = gae(0.7, *put(reward, one - middle, never, zero, next_value))
    np.testing.assert_allclose(advantage[3], -1.0, rtol=1e-6)


def test_a_step_is_not_moved_by_what_lies_before_it_or_after_its_end():
    reward, *rest = put(*arrays(3))
    last = np.asarray((rest[0] == 0) | rest[1])
    base = np.asarray(gae(0.7, reward, *rest))
    for s in range(T):
        more = jnp.asarray(np.asarray(reward) + np.eye(T, dtype=np.float32)[:, [s]])
        moved = np.asarray(gae(0.7, more, *rest)) != base
        reaches = [[t <= s and not last[t:s, b].any() for b in range(B)] for t in range(T)]
        np.testing.assert_array_equal(moved, reaches)


def test_running_returns():
    reward, discount, truncated, *_ = arrays(4)
    last = (discount == 0) | truncated
    start = np.linspace(-2, 2, B)
    run = jax.jit(returns.running_returns)
    total, sums = run(*put(reward, last, start))
    earned = start.copy()
    for t in range(T):
        earned += reward[t]
        np.testing.assert_allclose(sums[t], earned, rtol=1e-5, atol=1e-6)
        earned[last[t]] = 0
    np.testing.assert_allclose(total, earned, rtol=1e-5, atol=1e-6)
    # two windows, with the sums handed over, are one
    total_a, sums_a = run(*put(reward[:4], last[:4], start))
    total_b, sums_b = run(*put(reward[4:], last[4:]), total_a)
    together = total_b, np.concatenate([sums_a, sums_b])
    assert_ulps(together, (total, sums), ulps=T, scale=np.abs(reward).max())  # T sums


def test_normalise():
    x = np.random.default_rng(5).normal(3, 7, size=(T, B))
    normalise = jax.jit(returns.normalise)
    np.testing.assert_allclose(normalise(*put(x)), (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)
    # the mean of as many numbers as a power of two is exact
    np.testing.assert_array_equal(normalise(*put(np.full((8, 4), -3.0))), np.zeros((8, 4)))
