"""A life judged by the mean of what it earned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import LifeReturn
from lopt.types import Level
from tests.reference.bandit import Bandit
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)


class Told:
    """A life of which a list says what is measured at every age, and what follows its end."""

    def __init__(self, *values):
        self.values = jnp.array(values)

    def init(self, key, theta, level):
        return jnp.int32(0)

    def step(self, key, theta, level, state):
        return jnp.where(state < level.lifetime, state + 1, state), {"episode_return": self.values[state]}

    def meta_loss(self, key, theta, level, state):
        raise AssertionError("the life is judged by what was measured on the way")

    def age(self, state):
        return state


def lived(lifetime, length, steps):
    level = Level(params=(), lifetime=jnp.int32(length))
    state = lifetime.init(KEY, (), level)
    for _ in range(steps):
        state, _ = lifetime.step(KEY, (), level, state)
    return lifetime.meta_loss(KEY, (), level, state)


def test_the_mean_is_over_the_updates_of_the_life_that_told_something():
    life = LifeReturn(Told(np.nan, 2.0, 7.0, 100.0), scale=3.0)
    loss, state, told = lived(life, 3, 6)
    # two quotients
    assert_ulps((loss, told["life_return"]), (np.float32(-1.5), np.float32(4.5)), ulps=2)
    assert life.age(state) == 3


def test_a_life_that_told_nothing_counts_as_agreed():
    assert lived(LifeReturn(Told(np.nan, np.nan), unknown=-5.0), 2, 2)[0] == 5.0


def test_an_infinite_return_is_not_hidden():
    assert lived(LifeReturn(Told(1.0, np.inf)), 2, 2)[0] == -np.inf


def test_bad_scale():
    with pytest.raises(ValueError, match="scale must be positive"):
        LifeReturn(Bandit(), scale=0.0)
