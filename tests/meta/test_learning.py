"""Meta-training improves a randomly initialised LPG rule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.probes import ACTION_FROM_OBS
from lopt.agents import MeanReturn, RLLifetime, TrainableTable, ValueBaseline, train_learner
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import LPG, LPGRegulariser

LIFETIME, STEPS, AGENTS = 20, 150, 32


@pytest.mark.slow
def test_meta_training_finds_a_rule_that_solves_a_probe():
    env = ACTION_FROM_OBS
    trainable = partial(TrainableTable, num_states=env.num_states, learning_rate=2.0, max_norm=1.0)
    rule = LPG(prediction_size=3, hidden=16, embedding=4)
    lifetime = RLLifetime(
        env=env,
        objective=rule,
        policy=trainable,
        prediction=trainable,
        num_envs=8,
        rollout_length=4,
        baseline=ValueBaseline(critic=trainable(features=1)),
        regulariser=LPGRegulariser(),
    )

    def level(key):
        return env(key).replace(num_updates=jnp.int32(LIFETIME))

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
    learner = MetaLearner(
        estimator=MetaGradient(lifetime=lifetime, num_updates=5),
        curriculum=DomainRandomisation(level),
        score=Uniform(),
        optimizer=optimizer,
        num_lifetimes=16,
    )
    evaluate = MeanReturn(env=env, policy=lifetime.agent.act, num_episodes=64, max_steps=1)

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
    def final_return(key, theta):
        key_train, key_evaluate = jax.random.split(key)
        sampled = level(key)
        return evaluate(key_evaluate, sampled, train_learner(key_train, lifetime, theta, sampled, LIFETIME))

    theta = jax.jit(rule.init)(jax.random.key(0))
    trained, losses = train(jax.random.key(1), theta)
    assert np.isfinite(losses).all()
    agents = jax.random.split(jax.random.key(2), AGENTS)
    # random is 0, optimal is 1
    assert abs(np.mean(final_return(agents, theta))) < 0.5
    assert np.mean(final_return(agents, trained)) > 0.8
