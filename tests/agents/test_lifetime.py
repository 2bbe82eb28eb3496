"""The life of an agent, on two states: what it measures, what its baseline learns, and its meta-loss.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import rollout
from lopt.types import Rates
from tests.reference import naive
from tests.reference.lives import T, a2c, life
from tests.reference.pair import level
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)
LIFE = a2c()


@functools.cache
def jitted():
    return jax.jit(LIFE.init), jax.jit(LIFE.step)


def grow(level, updates, key=KEY):
    """The state after, and the metrics `[updates]`."""
    init, step = jitted()
    state, told = init(key, (), level), []
    for i in range(updates):
        state, metrics = step(jax.random.fold_in(key, i), (), level, state)
        told.append(metrics)
    return state, jax.tree.map(lambda *xs: np.stack(xs), *told)


@pytest.mark.parametrize(("p_end", "limit", "value"), [(0.0, 3, -2.0), (1.0, 3, -1.0)], ids=["truncated", "terminated"])
def test_values_go_on_beyond_truncation_and_not_beyond_termination(p_end, limit, value):
    """Reward -1 for ever with discount 1/2 is worth -2; if every step terminates, -1."""
    state, told = grow(level(-1.0, p_end, limit, lifetime=200), 150)
    np.testing.assert_allclose(state.baseline.params["rows"], np.full((2, 1), value), atol=0.02)
    np.testing.assert_allclose(told["value_mean"][-1], value, atol=0.02)
    loss = told["value_loss"]
    assert loss[-1] < 1e-3 * loss[0]
    assert told["positive_value_loss"][0] == 0 and told["l1_value_loss"][0] > 0.5


def test_a_level_may_choose_the_learning_rates():
    """Half the step of each head; one as factor changes nothing; no head but its own is touched."""
    one = level(lifetime=10)
    state = jitted()[0](KEY, (), one)
    step = jax.jit(LIFE.step)

    def moved(*rates):
        chosen = one.replace(rates=Rates(*map(jnp.float32, rates))) if rates else one
        after = step(KEY, (), chosen, state)[0].agent
        heads = ((after.policy, state.agent.policy), (after.prediction, state.agent.prediction))
        return [np.asarray(a.params["rows"] - b.params["rows"]) for a, b in heads]

    plain, same, half = moved(), moved(1, 1), moved(0.5, 2)
    # two programs: differences of weights of size one, moved by a gradient of T B = 12 terms
    assert_ulps(same, plain, ulps=16, scale=1.0)
    np.testing.assert_allclose(half[0], 0.5 * plain[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(half[1], 2 * plain[1], rtol=1e-4, atol=1e-7)
    assert all((np.abs(x) > 1e-4).any() for x in plain)


def test_best_return_counts_whole_episodes_only():
    _, told = grow(level(-1.0, 0.0, limit=6, lifetime=100), 5)
    # episodes of 6 steps, windows of 4: they end in the 2nd, 3rd and 5th
    np.testing.assert_array_equal(told["best_return"], [-np.inf, -6, -6, -np.inf, -6])
    assert_ulps(told["reward"], np.full(5, -1, np.float32), ulps=1)  # a mean
    _, told = grow(level(-1.0, 0.4, limit=100, lifetime=100), 12)
    assert (np.isneginf(told["best_return"]) | (told["best_return"] <= -1)).all()
    assert len(set(told["best_return"].tolist())) > 1


def test_metrics_describe_the_agent_after_the_update():
    init, step = jitted()
    one = level(lifetime=10)
    state = init(KEY, (), one)
    key = jax.random.key(5)
    moved, told = step(key, (), one, state)
    _, traj = played(key, one, state)
    index, time = np.asarray(traj.obs.index), np.asarray(traj.obs.time)[..., None]
    head = moved.agent.policy.params
    p = naive.softmax(np.asarray(head["rows"])[index] + time * np.asarray(head["time"]))
    np.testing.assert_allclose(told["policy_entropy"], -(p * np.log(p)).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(told["reward"], np.asarray(traj.reward).mean(), rtol=1e-5, atol=1e-6)
    before = np.asarray(state.agent.policy.params["rows"])
    assert not np.allclose(before, head["rows"], atol=1e-4)


@jax.jit
def played(key, level, state):
    """The rollout a step or a meta-loss with this key plays."""

    def policy(obs):
        return LIFE.agent.act(state.agent, obs)

    return rollout(key, LIFE.env, level.params, policy, state.players, T)


@jax.jit
def meta_losses(key, level, state):
    """As it is, and with each rollout's mean advantage."""
    compatible = dataclasses.replace(LIFE, mean_advantage=True)
    return [lifetime.meta_loss(key, (), level, state) for lifetime in (LIFE, compatible)]


def test_meta_loss_is_the_policy_gradient_of_a_fresh_rollout():
    one, key = level(lifetime=1), jax.random.key(7)
    state, _ = grow(one, 1)
    (loss, moved, told), (compatible, _, _) = meta_losses(key, one, state)
    players, traj = played(key, one, state)
    assert_ulps(moved.players, players, ulps=1)  # the time that is seen is a product
    chex.assert_trees_all_equal((moved.agent, moved.age), (state.agent, state.age))
    assert (moved.baseline.params["rows"] != state.baseline.params["rows"]).any()
    params = jax.tree.map(np.asarray, (state.baseline.params, state.agent.policy.params))
    value, logits, value_next, _ = (
        p["rows"][obs.index] + np.asarray(obs.time)[..., None] * p["time"]
        for obs in (traj.obs, traj.next_obs)
        for p in params
    )
    arrays = jax.tree.map(np.asarray, (traj.reward, traj.discount, traj.truncated))
    advantage = naive.gae(*arrays, value[..., 0], value_next[..., 0], 0.5, 0.95)
    np.testing.assert_allclose(told["meta_value_loss"], (advantage**2).mean(), rtol=1e-4)
    advantage = (advantage - advantage.mean()) / advantage.std()
    chosen = np.take_along_axis(naive.log_softmax(logits), np.asarray(traj.action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(loss, -(chosen * advantage).mean(), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(compatible, -(chosen * advantage.mean(0)).mean(), rtol=1e-3, atol=1e-6)


def test_bad_values():
    for name in ("num_envs", "rollout_length"):
        with pytest.raises(ValueError, match=f"RLLifetime: {name}"):
            life(**{name: 0})
    state = jax.eval_shape(LIFE.init, KEY, (), level())
    with pytest.raises(ValueError, match="needs a value baseline"):
        jax.eval_shape(dataclasses.replace(LIFE, baseline=None).meta_loss, KEY, (), level(), state)
