"""`uniforms` returns uniform and independent numbers, within and between keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs import uniforms

NUM, KEYS = 6, 20_000


@pytest.fixture(scope="module")
def numbers():
    draw = jax.jit(jax.vmap(lambda key: jnp.stack(uniforms(key, NUM))))
    return np.asarray(draw(jax.random.split(jax.random.key(0), KEYS)), np.float64)


def test_uniform(numbers):
    assert numbers.min() >= 0 and numbers.max() < 1
    for i in range(NUM):
        assert stats.kstest(numbers[:, i], "uniform").pvalue > 1e-4
        assert abs((numbers[:, i] < 0.001).sum() - KEYS * 0.001) < 5 * (KEYS * 0.001) ** 0.5


def test_independent(numbers):
    columns = np.concatenate([numbers, np.roll(numbers, 1, axis=0)], axis=1)
    correlation = np.corrcoef(columns.T) - np.eye(2 * NUM)
    assert np.abs(correlation).max() < 5 / KEYS**0.5
    for i in range(NUM - 1):  # pairs are uniform on the square
        counts = np.histogram2d(numbers[:, i], numbers[:, i + 1], bins=16, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_neighbouring_keys_differ():
    raw = np.stack([np.arange(1000, dtype=np.uint32) % 2, np.arange(1000, dtype=np.uint32)], -1)
    keys = jax.random.wrap_key_data(jnp.asarray(raw))
    draws = np.asarray(jax.jit(jax.vmap(lambda key: jnp.stack(uniforms(key, 2))))(keys))
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.15
    assert uniforms(jax.random.key(0), 0) == ()
