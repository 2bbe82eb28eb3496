"""Evaluation against a Python loop, where it stops, and whole lives."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from lopt import policies
from lopt.agents import AgentState, HeadState, MeanReturn, episode_returns, live, reset
from lopt.objectives import A2C
from lopt.types import TabularObs
from tests.reference.lives import a2c, life
from tests.reference.pair import Pair, level

ENV, EPISODES, BOUND = Pair(), 3, 30
LOGITS = jnp.array([[0.3, -0.5], [1.0, 0.2]])
SEEN = []


def policy(obs: TabularObs):
    jax.debug.callback(SEEN.append, obs.index)
    return LOGITS[obs.index] + obs.time


@functools.cache
def jitted():
    return jax.jit(lambda key, params: episode_returns(key, ENV, params, policy, EPISODES, BOUND))


def returns(key, one):
    """The returns, and how many steps were played."""
    SEEN.clear()
    found = jax.block_until_ready(jitted()(key, one.params))
    jax.effects_barrier()
    return np.asarray(found), len(SEEN) / EPISODES


def test_returns_equal_a_loop():
    one = level(p_end=0.25, limit=6)
    key = jax.random.key(3)
    found, steps = returns(key, one)
    key_reset, key_steps = jax.random.split(key)
    players = jax.jit(lambda key: reset(key, ENV, one.params, EPISODES))(key_reset)

    @jax.jit
    def play(key, players):
        key_act, key_step = jax.random.split(key)
        action = policies.sample(key_act, LOGITS[players.obs.index] + players.obs.time[:, None])
        keys = jax.random.split(key_step, EPISODES)
        return jax.vmap(ENV.step, (0, 0, 0, None))(keys, players.env_state, action, one.params)

    total, over, lengths = np.zeros(EPISODES), np.zeros(EPISODES, bool), np.zeros(EPISODES, int)
    for t in range(BOUND):
        timestep, state = play(jax.random.fold_in(key_steps, t), players)
        total += np.where(over, 0, timestep.reward)
        lengths += ~over
        over |= np.asarray(timestep.last)
        players = players.replace(obs=timestep.obs, env_state=state)
    np.testing.assert_allclose(found, total, rtol=1e-5, atol=1e-6)
    # it stops with the longest episode
    assert len(set(lengths.tolist())) > 1 and steps == lengths.max()


def test_it_stops_at_the_limit_of_the_level_or_at_the_bound():
    for limit, expected in ((5, 5), (1, 1), (1000, BOUND)):
        found, steps = returns(jax.random.key(0), level(-1.0, 0.0, limit))
        np.testing.assert_array_equal(found, np.full(EPISODES, -expected))
        assert steps == expected


class Learner:
    """Something with an agent."""

    def __init__(self, agent):
        self.agent = agent


def test_mean_return_of_a_learner():
    lifetime = life(A2C(), baseline=None)
    measure = MeanReturn(ENV, lifetime.agent.act, 200, BOUND)
    one = level(reward=((1.0, 0.0), (1.0, 0.0)), p_end=0.0, limit=10)

    @jax.jit
    def go(rows):
        head = HeadState(params={"rows": rows, "time": jnp.zeros(2)}, opt_state=())
        return measure(jax.random.key(0), one, Learner(AgentState(policy=head, prediction=())))

    np.testing.assert_allclose(go(jnp.array([[50.0, 0.0], [50.0, 0.0]])), 10.0)
    np.testing.assert_allclose(go(jnp.array([[0.0, 50.0], [0.0, 50.0]])), 0.0)
    # ten fair coins; the mean of 200 episodes has a standard deviation of 0.11
    np.testing.assert_allclose(go(jnp.zeros((2, 2))), 5.0, atol=0.5)


def test_a_whole_life():
    lifetime, one, key, bound = a2c(), level(lifetime=3), jax.random.key(2), 5
    grown = jax.jit(lambda key: live(key, lifetime, (), one, bound))(key)
    key_birth, key_life = jax.random.split(key)
    init, step = jax.jit(lifetime.init), jax.jit(lifetime.step)
    state = init(key_birth, (), one)
    for step_key in jax.random.split(key_life, bound)[:3]:
        state, _ = step(step_key, (), one, state)
    assert grown.age == 3
    chex.assert_trees_all_close(grown, state, rtol=1e-5, atol=1e-6)
