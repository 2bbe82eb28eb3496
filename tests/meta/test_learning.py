"""A rule that knows nothing learns to teach."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.probes import ACTION_FROM_OBS
from lopt.agents import MeanReturn, RLLifetime, TableHead, ValueBaseline, live
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import LPG, LPGPenalty

LIFE, STEPS, AGENTS = 20, 150, 32


@pytest.mark.slow
def test_meta_training_finds_a_rule_that_solves_a_probe():
    env = ACTION_FROM_OBS
    head = partial(TableHead, env.num_states, 2.0, 1.0)
    rule = LPG(prediction_size=3, hidden=16, embedding=4)
    lifetime = RLLifetime(env, rule, head, head, num_envs=8, rollout_length=4, baseline=ValueBaseline(head(1)))

    def level(key):
        return env(key).replace(lifetime=jnp.int32(LIFE))

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
    learner = MetaLearner(MetaGradient(lifetime, 5, LPGPenalty()), DomainRandomisation(level), Uniform(), optimizer, 16)
    measure = MeanReturn(env, lifetime.agent.act, 64, 1)

    @jax.jit
    def train(key, theta):
        key_init, key_steps = jax.random.split(key)

        def step(state, key):
            state, metrics = learner.step(key, state)
            return state, metrics["meta_loss"]

        state, losses = jax.lax.scan(step, learner.init(key_init, theta), jax.random.split(key_steps, STEPS))
        return state.theta, losses

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def taught(key, theta):
        key_life, key_measure = jax.random.split(key)
        one = level(key)
        return measure(key_measure, one, live(key_life, lifetime, theta, one, LIFE))

    theta = jax.jit(rule.init)(jax.random.key(0))
    trained, losses = train(jax.random.key(1), theta)
    assert np.isfinite(losses).all()
    agents = jax.random.split(jax.random.key(2), AGENTS)
    # random is 0, optimal is 1
    assert abs(np.mean(taught(agents, theta))) < 0.5
    assert np.mean(taught(agents, trained)) > 0.8
