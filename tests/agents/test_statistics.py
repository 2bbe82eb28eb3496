"""Running statistics compared with NumPy on all samples at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import NormaliseObservations, ScaleRewards
from lopt.types import TabularObs

T, B, CHUNKS = 5, 3, 4
SHIFT, SCALE = np.array([100.0, -3.0]), np.array([20.0, 0.1])


def test_moments_over_chunks_equal_those_of_all_samples():
    rng = np.random.default_rng(0)
    obs = (SHIFT + SCALE * rng.normal(size=(CHUNKS, T, B, 2)) + rng.normal(size=(CHUNKS, 1, 1, 1))).astype(np.float32)
    normalise = NormaliseObservations(clip=0.75)
    moments, update = normalise.init(jnp.zeros(2)), jax.jit(normalise.update)
    for chunk in range(CHUNKS):
        moments = update(moments, obs[chunk])
        so_far = np.float64(obs[: chunk + 1]).reshape(-1, 2)
        assert moments.count == len(so_far)
        np.testing.assert_allclose(moments.mean, so_far.mean(0), rtol=1e-5)
        np.testing.assert_allclose(moments.var, so_far.var(0), rtol=1e-3)
    samples = np.float64(obs).reshape(-1, 2)
    expected = np.clip((obs[0, 0] - samples.mean(0)) / samples.std(0), -0.75, 0.75)
    actual = jax.vmap(lambda o: normalise(moments, o))(obs[0, 0])
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)
    assert (np.abs(expected) == 0.75).any() and (np.abs(expected) < 0.7).any()


def test_observations_are_unchanged_before_the_first_update():
    normalise = NormaliseObservations()
    obs = jnp.array([2.0, -3.0])
    np.testing.assert_allclose(normalise(normalise.init(obs), obs), obs, rtol=1e-6)


def test_constant_entries_are_clipped():
    normalise = NormaliseObservations(clip=5.0)
    moments = normalise.update(normalise.init(jnp.zeros(2)), jnp.full((T, B, 2), 3.0))
    actual = normalise(moments, jnp.array([3.0, 3.5]))
    np.testing.assert_allclose(actual, [0, 5], atol=0.01)


def test_integer_entries_are_unchanged():
    normalise = NormaliseObservations()
    time = np.random.default_rng(1).random((T, B)).astype(np.float32)
    obs = TabularObs(index=jnp.arange(T * B).reshape(T, B), time=jnp.array(time))
    one = jax.tree.map(lambda x: x[1, 2], obs)
    moments = normalise.update(normalise.init(one), obs)
    actual = normalise(moments, one)
    assert actual.index == one.index and actual.index.dtype == jnp.int32
    np.testing.assert_allclose(actual.time, (time[1, 2] - time.mean()) / time.std(), rtol=1e-4)


def test_rewards_are_divided_by_the_standard_deviation_of_returns():
    rng = np.random.default_rng(2)
    reward = (3 * rng.normal(size=(CHUNKS, T, B)) - 1).astype(np.float32)
    last = rng.random((CHUNKS, T, B)) < 0.2
    scale = ScaleRewards(gamma=0.9)
    reward_scaling, step = scale.init(B), jax.jit(scale.__call__)
    total, returns = np.zeros(B), []
    for chunk in range(CHUNKS):
        scaled, reward_scaling = step(reward_scaling, reward[chunk], last[chunk])
        for t in range(T):
            total = reward[chunk, t] + 0.9 * total
            returns.append(total)
            total = np.where(last[chunk, t], 0, total)
        np.testing.assert_allclose(scaled, reward[chunk] / np.std(returns), rtol=1e-4)
        np.testing.assert_allclose(reward_scaling.total, total, rtol=1e-4, atol=1e-6)


def test_scaled_rewards_are_clipped_where_all_returns_are_equal():
    scale = ScaleRewards(clip=5.0)
    scaled, _ = scale(scale.init(B), jnp.full((T, B), -2.0), jnp.ones((T, B), bool))
    np.testing.assert_array_equal(scaled, np.full((T, B), -5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NormaliseObservations(clip=0.0), "NormaliseObservations: clip"),
        (lambda: NormaliseObservations(epsilon=0.0), "NormaliseObservations: epsilon"),
        (lambda: ScaleRewards(gamma=1.5), "ScaleRewards: gamma"),
        (lambda: ScaleRewards(clip=0.0), "ScaleRewards: clip"),
        (lambda: ScaleRewards(epsilon=-1.0), "ScaleRewards: epsilon"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
