"""Mixtures of distributions of levels."""

import dataclasses

import jax
import numpy as np
import pytest

from envs import ACTION_MATTERS, ChainSet, Fixed, Mixture, Uniform
from tests.envs.keys import make_keys


def chains(lifetime):
    return ChainSet(lengths=Uniform(2, 9), num_updates=Fixed(lifetime))


def test_mixture_follows_the_weights():
    mixture = Mixture((chains(1), chains(2)), weights=(1, 3))
    drawn = jax.jit(jax.vmap(mixture))(make_keys(1, 2000))
    assert abs((np.asarray(drawn.num_updates) == 2).mean() - 0.75) < 0.05
    assert mixture.environment == chains(1).environment


def test_errors():
    with pytest.raises(ValueError, match="one environment"):
        Mixture((chains(3), ACTION_MATTERS))
    with pytest.raises(ValueError, match="empty"):
        Mixture(())
    with pytest.raises(ValueError, match="2 weights"):
        Mixture((chains(1), chains(2)), weights=(1.0,))
    with pytest.raises(ValueError, match="> 0"):
        dataclasses.replace(Mixture((chains(1), chains(2))), weights=(1.0, 0.0))
