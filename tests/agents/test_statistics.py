"""Running statistics against numpy on everything at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import NormaliseObservations, ScaleRewards
from lopt.types import TabularObs

T, B, CHUNKS = 5, 3, 4
SHIFT, SCALE = np.array([100.0, -3.0]), np.array([20.0, 0.1])


def test_moments_over_chunks_are_those_of_everything():
    rng = np.random.default_rng(0)
    obs = (SHIFT + SCALE * rng.normal(size=(CHUNKS, T, B, 2)) + rng.normal(size=(CHUNKS, 1, 1, 1))).astype(np.float32)
    normalise = NormaliseObservations(clip=0.75)
    seen, update = normalise.init(jnp.zeros(2)), jax.jit(normalise.update)
    for chunk in range(CHUNKS):
        seen = update(seen, obs[chunk])
        so_far = np.float64(obs[: chunk + 1]).reshape(-1, 2)
        assert seen.count == len(so_far)
        np.testing.assert_allclose(seen.mean, so_far.mean(0), rtol=1e-5)
        np.testing.assert_allclose(seen.var, so_far.var(0), rtol=1e-3)
    everything = np.float64(obs).reshape(-1, 2)
    expected = np.clip((obs[0, 0] - everything.mean(0)) / everything.std(0), -0.75, 0.75)
    found = jax.vmap(lambda o: normalise(seen, o))(obs[0, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert (np.abs(expected) == 0.75).any() and (np.abs(expected) < 0.7).any()


def test_before_anything_was_seen_observations_are_as_they_are():
    normalise = NormaliseObservations()
    obs = jnp.array([2.0, -3.0])
    np.testing.assert_allclose(normalise(normalise.init(obs), obs), obs, rtol=1e-6)


def test_what_never_changed_does_not_explode():
    normalise = NormaliseObservations(clip=5.0)
    seen = normalise.update(normalise.init(jnp.zeros(2)), jnp.full((T, B, 2), 3.0))
    found = normalise(seen, jnp.array([3.0, 3.5]))
    np.testing.assert_allclose(found, [0, 5], atol=0.01)


def test_indices_are_left_alone():
    normalise = NormaliseObservations()
    time = np.random.default_rng(1).random((T, B)).astype(np.float32)
    obs = TabularObs(index=jnp.arange(T * B).reshape(T, B), time=jnp.array(time))
    one = jax.tree.map(lambda x: x[1, 2], obs)
    seen = normalise.update(normalise.init(one), obs)
    found = normalise(seen, one)
    assert found.index == one.index and found.index.dtype == jnp.int32
    np.testing.assert_allclose(found.time, (time[1, 2] - time.mean()) / time.std(), rtol=1e-4)


def test_rewards_are_divided_by_the_deviation_of_returns():
    rng = np.random.default_rng(2)
    reward = (3 * rng.normal(size=(CHUNKS, T, B)) - 1).astype(np.float32)
    last = rng.random((CHUNKS, T, B)) < 0.2
    scale = ScaleRewards(gamma=0.9)
    earnings, play = scale.init(B), jax.jit(scale.__call__)
    total, returns = np.zeros(B), []
    for chunk in range(CHUNKS):
        scaled, earnings = play(earnings, reward[chunk], last[chunk])
        for t in range(T):
            total = reward[chunk, t] + 0.9 * total
            returns.append(total)
            total = np.where(last[chunk, t], 0, total)
        np.testing.assert_allclose(scaled, reward[chunk] / np.std(returns), rtol=1e-4)
        np.testing.assert_allclose(earnings.total, total, rtol=1e-4, atol=1e-6)


def test_returns_that_are_all_the_same_are_no_reason_for_huge_rewards():
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
