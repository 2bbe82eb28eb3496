"""`RLLifetime` on an environment with two states: its metrics, its value baseline, and its meta-loss.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.grid.compat import mean_over_time
from lopt.agents import rollout
from lopt.types import Rates
from tests.reference import naive
from tests.reference.lifetimes import T, a2c, rl_lifetime
from tests.reference.pair import level
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)
LIFETIME = a2c()


@functools.cache
def jitted():
    return jax.jit(LIFETIME.init), jax.jit(LIFETIME.step)


def train(level, updates, key=KEY):
    """The state after `updates` updates, and their `UpdateInfo`, leaves `[updates]`."""
    init, step = jitted()
    state, history = init(key, (), level), []
    for i in range(updates):
        state, info = step(jax.random.fold_in(key, i), (), level, state)
        history.append(info)
    return state, jax.tree.map(lambda *xs: np.stack(xs), *history)


@pytest.mark.parametrize(("p_end", "limit", "value"), [(0.0, 3, -2.0), (1.0, 3, -1.0)], ids=["truncated", "terminated"])
def test_values_are_bootstrapped_at_truncation_and_not_at_termination(p_end, limit, value):
    """With reward -1 and gamma = 1/2 the value is -2, and -1 if every step terminates."""
    state, info = train(level(-1.0, p_end, limit, num_updates=200), 150)
    np.testing.assert_allclose(state.baseline.params["rows"], np.full((2, 1), value), atol=0.02)
    np.testing.assert_allclose(info.scores.value[-1], value, atol=0.02)
    loss = info.metrics["value_loss"]
    assert loss[-1] < 1e-3 * loss[0]
    assert info.scores.positive_advantage[0] == 0 and info.scores.absolute_advantage[0] > 0.5


def test_rates_of_a_level_scale_the_learning_rates():
    """Factors 0.5 and 2 scale the policy's and the prediction's update; factors of 1 change nothing."""
    one = level(num_updates=10)
    state = jitted()[0](KEY, (), one)
    step = jax.jit(LIFETIME.step)

    def updates(*rates):
        with_rates = one.replace(rates=Rates(*map(jnp.float32, rates))) if rates else one
        after = step(KEY, (), with_rates, state)[0].agent
        modules = ((after.policy, state.agent.policy), (after.prediction, state.agent.prediction))
        return [np.asarray(a.params["rows"] - b.params["rows"]) for a, b in modules]

    without, unit, scaled = updates(), updates(1, 1), updates(0.5, 2)
    # two programs: differences of weights of size one, updated by a gradient of T B = 12 terms
    assert_ulps(unit, without, ulps=16, scale=1.0)
    np.testing.assert_allclose(scaled[0], 0.5 * without[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(scaled[1], 2 * without[1], rtol=1e-4, atol=1e-7)
    assert all((np.abs(x) > 1e-4).any() for x in without)


def test_best_return_is_over_complete_episodes():
    _, info = train(level(-1.0, 0.0, limit=6, num_updates=100), 5)
    # episodes of 6 steps and rollouts of 4: episodes end in the 2nd, 3rd and 5th rollout
    np.testing.assert_array_equal(info.scores.best_return, [-np.inf, -6, -6, -np.inf, -6])
    assert_ulps(info.scores.reward, np.full(5, -1, np.float32), ulps=1)  # a mean
    _, info = train(level(-1.0, 0.4, limit=100, num_updates=100), 12)
    assert (np.isneginf(info.scores.best_return) | (info.scores.best_return <= -1)).all()
    assert len(set(info.scores.best_return.tolist())) > 1


def test_entropies_are_those_of_the_updated_agent():
    init, step = jitted()
    one = level(num_updates=10)
    state = init(KEY, (), one)
    key = jax.random.key(5)
    updated, info = step(key, (), one, state)
    _, traj = sampled_rollout(key, one, state)
    index, time = np.asarray(traj.obs.index), np.asarray(traj.obs.time)[..., None]
    params = updated.agent.policy.params
    p = naive.softmax(np.asarray(params["rows"])[index] + time * np.asarray(params["time"]))
    np.testing.assert_allclose(info.metrics["policy_entropy"], -(p * np.log(p)).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(info.metrics["reward"], np.asarray(traj.reward).mean(), rtol=1e-5, atol=1e-6)
    before = np.asarray(state.agent.policy.params["rows"])
    assert not np.allclose(before, params["rows"], atol=1e-4)


@jax.jit
def sampled_rollout(key, level, state):
    """The rollout that a step or a meta-loss with this key samples."""

    def policy(obs):
        return LIFETIME.agent.act(state.agent, obs)

    return rollout(key, LIFETIME.env, level.params, policy, state.env_batch, T)


@jax.jit
def meta_losses(key, level, state):
    """`meta_loss` with normalised advantages, and with their mean over time."""
    transformed = dataclasses.replace(LIFETIME, transform_advantage=mean_over_time)
    return [lifetime.meta_loss(key, (), level, state) for lifetime in (LIFETIME, transformed)]


def test_meta_loss_is_the_policy_gradient_of_a_fresh_rollout():
    one, key = level(num_updates=1), jax.random.key(7)
    state, _ = train(one, 1)
    (loss, after, metrics), (transformed, _, _) = meta_losses(key, one, state)
    env_batch, traj = sampled_rollout(key, one, state)
    assert_ulps(after.env_batch, env_batch, ulps=1)  # the observed time is a product
    chex.assert_trees_all_equal((after.agent, after.age), (state.agent, state.age))
    assert (after.baseline.params["rows"] != state.baseline.params["rows"]).any()
    params = jax.tree.map(np.asarray, (state.baseline.params, state.agent.policy.params))
    value, logits, value_next, _ = (
        p["rows"][obs.index] + np.asarray(obs.time)[..., None] * p["time"]
        for obs in (traj.obs, traj.next_obs)
        for p in params
    )
    arrays = jax.tree.map(np.asarray, (traj.reward, traj.discount, traj.truncated))
    advantage = naive.gae(*arrays, value[..., 0], value_next[..., 0], 0.5, 0.95)
    np.testing.assert_allclose(metrics["meta_value_loss"], (advantage**2).mean(), rtol=1e-4)
    advantage = (advantage - advantage.mean()) / advantage.std()
    log_prob = np.take_along_axis(naive.log_softmax(logits), np.asarray(traj.action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(loss, -(log_prob * advantage).mean(), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(transformed, -(log_prob * advantage.mean(0)).mean(), rtol=1e-3, atol=1e-6)


def test_bad_values():
    for name in ("num_envs", "rollout_length"):
        with pytest.raises(ValueError, match=f"RLLifetime: {name}"):
            rl_lifetime(**{name: 0})
    state = jax.eval_shape(LIFETIME.init, KEY, (), level())
    with pytest.raises(ValueError, match="needs a value baseline"):
        jax.eval_shape(dataclasses.replace(LIFETIME, baseline=None).meta_loss, KEY, (), level(), state)
