"""Finite distributions and mixtures."""

import dataclasses

import jax
import numpy as np
import pytest

from envs import ACTION_MATTERS, ChainSet, Finite, Fixed, Mixture, Uniform
from tests.envs.keys import make_keys


def chains(lifetime):
    return ChainSet(lengths=Uniform(2, 9), lifetime=Fixed(lifetime))


def test_finite_is_uniform():
    dist = chains(3)
    levels = jax.jit(jax.vmap(dist))(make_keys(0, 4))
    levels = levels.replace(lifetime=np.arange(1, 5, dtype=np.int32))
    finite = Finite(dist.environment, levels)
    assert finite.num_levels == 4 and finite.environment == dist.environment
    drawn = jax.jit(jax.vmap(finite))(make_keys(1, 2000))
    assert np.bincount(np.asarray(drawn.lifetime))[1:].min() > 400
    which = np.asarray(drawn.lifetime) - 1
    np.testing.assert_array_equal(drawn.params.length, np.asarray(levels.params.length)[which])


def test_mixture_follows_the_weights():
    mixture = Mixture((chains(1), chains(2)), weights=(1, 3))
    drawn = jax.jit(jax.vmap(mixture))(make_keys(1, 2000))
    assert abs((np.asarray(drawn.lifetime) == 2).mean() - 0.75) < 0.05
    assert mixture.environment == chains(1).environment


def test_errors():
    level = chains(3)(jax.random.key(0))
    with pytest.raises(ValueError, match="leading axis"):
        Finite(chains(3).environment, level)
    with pytest.raises(ValueError, match="one environment"):
        Mixture((chains(3), ACTION_MATTERS))
    with pytest.raises(ValueError, match="empty"):
        Mixture(())
    with pytest.raises(ValueError, match="2 weights"):
        Mixture((chains(1), chains(2)), weights=(1.0,))
    with pytest.raises(ValueError, match="> 0"):
        dataclasses.replace(Mixture((chains(1), chains(2))), weights=(1.0, 0.0))
