"""Evaluation compared with a Python loop, its stopping, and training for a whole lifetime."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from lopt import policies
from lopt.agents import AgentState, MeanReturn, TrainableState, episode_returns, reset, train_learner
from lopt.objectives import A2C
from lopt.types import TabularObs
from tests.reference.lifetimes import a2c, rl_lifetime
from tests.reference.pair import Pair, level

ENV, EPISODES, BOUND = Pair(), 3, 30
LOGITS = jnp.array([[0.3, -0.5], [1.0, 0.2]])
CALLS = []


def policy(obs: TabularObs):
    jax.debug.callback(CALLS.append, obs.index)
    return LOGITS[obs.index] + obs.time


@functools.cache
def jitted():
    return jax.jit(lambda key, params: episode_returns(key, ENV, params, policy, EPISODES, BOUND))


def returns(key, one):
    """The returns, and the number of steps that were computed."""
    CALLS.clear()
    actual = jax.block_until_ready(jitted()(key, one.params))
    jax.effects_barrier()
    return np.asarray(actual), len(CALLS) / EPISODES


def test_returns_equal_a_loop():
    one = level(p_end=0.25, limit=6)
    key = jax.random.key(3)
    actual, steps = returns(key, one)
    key_reset, key_steps = jax.random.split(key)
    env_batch = jax.jit(lambda key: reset(key, ENV, one.params, EPISODES))(key_reset)

    @jax.jit
    def one_step(key, env_batch):
        key_act, key_step = jax.random.split(key)
        action = policies.sample(key_act, LOGITS[env_batch.obs.index] + env_batch.obs.time[:, None])
        keys = jax.random.split(key_step, EPISODES)
        return jax.vmap(ENV.step, (0, 0, 0, None))(keys, env_batch.env_state, action, one.params)

    total, ended, lengths = np.zeros(EPISODES), np.zeros(EPISODES, bool), np.zeros(EPISODES, int)
    for t in range(BOUND):
        timestep, state = one_step(jax.random.fold_in(key_steps, t), env_batch)
        total += np.where(ended, 0, timestep.reward)
        lengths += ~ended
        ended |= np.asarray(timestep.last)
        env_batch = env_batch.replace(obs=timestep.obs, env_state=state)
    np.testing.assert_allclose(actual, total, rtol=1e-5, atol=1e-6)
    # it stops at the end of the longest episode
    assert len(set(lengths.tolist())) > 1 and steps == lengths.max()


def test_it_stops_at_the_limit_of_the_level_or_at_the_bound():
    for limit, expected in ((5, 5), (1, 1), (1000, BOUND)):
        actual, steps = returns(jax.random.key(0), level(-1.0, 0.0, limit))
        np.testing.assert_array_equal(actual, np.full(EPISODES, -expected))
        assert steps == expected


class Learner:
    """A learner state with an agent."""

    def __init__(self, agent):
        self.agent = agent


def test_mean_return_of_a_learner():
    lifetime = rl_lifetime(A2C(), baseline=None)
    evaluate = MeanReturn(env=ENV, policy=lifetime.agent.act, num_episodes=200, max_steps=BOUND)
    one = level(reward=((1.0, 0.0), (1.0, 0.0)), p_end=0.0, limit=10)

    @jax.jit
    def mean_return(rows):
        policy = TrainableState(params={"rows": rows, "time": jnp.zeros(2)}, opt_state=())
        return evaluate(jax.random.key(0), one, Learner(AgentState(policy=policy, prediction=())))

    np.testing.assert_allclose(mean_return(jnp.array([[50.0, 0.0], [50.0, 0.0]])), 10.0)
    np.testing.assert_allclose(mean_return(jnp.array([[0.0, 50.0], [0.0, 50.0]])), 0.0)
    # ten Bernoulli(1/2) rewards; the mean of 200 episodes has a standard deviation of 0.11
    np.testing.assert_allclose(mean_return(jnp.zeros((2, 2))), 5.0, atol=0.5)


def test_train_learner_stops_at_the_end_of_the_lifetime():
    lifetime, one, key, bound = a2c(), level(num_updates=3), jax.random.key(2), 5
    trained = jax.jit(lambda key: train_learner(key, lifetime, (), one, bound))(key)
    key_init, key_steps = jax.random.split(key)
    init, step = jax.jit(lifetime.init), jax.jit(lifetime.step)
    state = init(key_init, (), one)
    for step_key in jax.random.split(key_steps, bound)[:3]:
        state, _ = step(step_key, (), one, state)
    assert trained.age == 3
    chex.assert_trees_all_close(trained, state, rtol=1e-5, atol=1e-6)
