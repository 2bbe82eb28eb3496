"""A2C on grid worlds lies between the random policy and the exact optimum."""

from functools import partial

import jax
import numpy as np
import pytest

from envs.gridworld import All, optimal_return, random_return
from envs.laws import Fixed
from lopt.agents import MeanReturn, RLLifetime, TableHead, live
from lopt.objectives import A2C

LEVELS, UPDATES, LIMIT = 6, 200, 20


@pytest.mark.slow
def test_a2c_is_better_than_random_and_no_better_than_optimal():
    sizes = {"sizes": (4, 5), "objects": (1, 2), "num_walls": 3, "wall_range": 5}
    distribution = All(**sizes, max_steps=Fixed(LIMIT), lifetime=Fixed(UPDATES))
    env = distribution.environment
    # GROOVE's rates
    policy, value = (partial(TableHead, env.num_states, rate, 0.5) for rate in (40.0, 4.0))
    lifetime = RLLifetime(env, A2C(), policy, value, num_envs=32, rollout_length=20)
    measure = MeanReturn(env, lifetime.agent.act, 256, LIMIT)

    @jax.jit
    @jax.vmap
    def returns(key, level):
        key_life, key_measure = jax.random.split(key)
        grown = live(key_life, lifetime, (), level, UPDATES)
        return measure(key_measure, level, grown), random_return(env, level.params), optimal_return(env, level.params)

    levels = jax.vmap(distribution)(jax.random.split(jax.random.key(0), LEVELS))
    a2c, random, optimal = map(np.asarray, returns(jax.random.split(jax.random.key(1), LEVELS), levels))
    assert (optimal > random).all()
    # the mean of 256 episodes of a few objects is known to about a tenth
    assert (a2c >= random - 0.1).all()
    assert (a2c <= optimal + 0.1).all()
    assert (a2c - random).mean() > 0.6 * (optimal - random).mean()
