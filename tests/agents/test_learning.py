"""The return of A2C on grid worlds lies between the random policy's and the optimal one."""

from functools import partial

import jax
import numpy as np
import pytest

from envs.gridworld import All, optimal_return, random_return
from envs.int_distributions import Fixed
from lopt.agents import MeanReturn, RLLifetime, TrainableTable, train_learner
from lopt.objectives import A2C

LEVELS, UPDATES, LIMIT = 6, 200, 20


@pytest.mark.slow
def test_a2c_is_better_than_random_and_no_better_than_optimal():
    sizes = {"sizes": (4, 5), "objects": (1, 2), "num_walls": 3, "wall_range": 5}
    distribution = All(**sizes, max_steps=Fixed(LIMIT), num_updates=Fixed(UPDATES))
    env = distribution.environment
    # GROOVE's learning rates
    policy, value = (
        partial(TrainableTable, num_states=env.num_states, learning_rate=rate, max_norm=0.5) for rate in (40.0, 4.0)
    )
    lifetime = RLLifetime(env=env, objective=A2C(), policy=policy, prediction=value, num_envs=32, rollout_length=20)
    evaluate = MeanReturn(env=env, policy=lifetime.agent.act, num_episodes=256, max_steps=LIMIT)

    @jax.jit
    @jax.vmap
    def returns(key, level):
        key_train, key_evaluate = jax.random.split(key)
        learner = train_learner(key_train, lifetime, (), level, UPDATES)
        return (
            evaluate(key_evaluate, level, learner),
            random_return(env, level.params),
            optimal_return(env, level.params),
        )

    levels = jax.vmap(distribution)(jax.random.split(jax.random.key(0), LEVELS))
    a2c, random, optimal = map(np.asarray, returns(jax.random.split(jax.random.key(1), LEVELS), levels))
    assert (optimal > random).all()
    # the standard error of the mean over 256 episodes is below 0.1
    assert (a2c >= random - 0.1).all()
    assert (a2c <= optimal + 0.1).all()
    assert (a2c - random).mean() > 0.6 * (optimal - random).mean()
