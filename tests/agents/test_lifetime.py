"""The life of an agent, on two states: what it measures, what its baseline learns, and its meta-loss.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

import functools

import chex
import jax
import numpy as np
import optax
import pytest

from lopt.agents import NetHead, ValueBaseline, rollout
from lopt.nets import Tabular
from lopt.objectives import A2C
from tests.reference import naive
from tests.reference.lives import B, T, life, random_theta, table
from tests.reference.pair import level
from tests.reference.quick import jit

KEY = jax.random.key(0)
LIFE = life(A2C(), baseline=ValueBaseline(table(0.5, 100.0)(1), gamma=0.5))


@functools.cache
def jitted():
    return jit(LIFE.init), jit(LIFE.step)


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
    # an agent is told the same by its own value head, which A2C trains
    loss = told["value_loss"]
    assert 0 < loss[-1] < 1e-3 * loss[0]
    assert told["positive_value_loss"][0] == 0 and told["l1_value_loss"][0] > 0.5


def test_best_return_counts_whole_episodes_only():
    _, told = grow(level(-1.0, 0.0, limit=6, lifetime=100), 5)
    # episodes of 6 steps, windows of 4: they end in the 2nd, 3rd and 5th
    np.testing.assert_array_equal(told["best_return"], [-np.inf, -6, -6, -np.inf, -6])
    np.testing.assert_array_equal(told["reward"], np.full(5, -1))
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
    np.testing.assert_allclose(told["reward"], np.asarray(traj.reward).mean(), rtol=1e-5)
    before = np.asarray(state.agent.policy.params["rows"])
    assert not np.allclose(before, head["rows"], atol=1e-4)


@jit
def played(key, level, state):
    """The rollout a step or a meta-loss with this key plays."""

    def policy(obs):
        return LIFE.agent.act(state.agent, obs)

    return rollout(key, LIFE.env, level.params, policy, state.players, T)


@pytest.mark.parametrize("mean_advantage", [False, True])
def test_meta_loss_is_the_policy_gradient_of_a_fresh_rollout(mean_advantage):
    lifetime = life(A2C(), baseline=LIFE.baseline, mean_advantage=mean_advantage)
    one, key = level(lifetime=1), jax.random.key(7)
    state, _ = grow(one, 1)

    @jit
    def measure(params):
        policy = state.agent.policy.replace(params=params)
        return lifetime.meta_loss(key, (), one, state.replace(agent=state.agent.replace(policy=policy)))

    loss, moved, told = measure(state.agent.policy.params)
    players, traj = played(key, one, state)
    chex.assert_trees_all_equal(moved.players, players)
    chex.assert_trees_all_equal((moved.agent, moved.age), (state.agent, state.age))
    arrays = jax.tree.map(np.asarray, (traj.reward, traj.discount, traj.truncated))
    values = []
    for obs in (traj.obs, traj.next_obs):
        rows, time = (np.asarray(state.baseline.params[name])[..., 0] for name in ("rows", "time"))
        values.append(rows[obs.index] + time * np.asarray(obs.time))
    advantage = naive.gae(*arrays, *values, 0.5, 0.95)
    np.testing.assert_allclose(told["meta_value_loss"], (advantage**2).mean(), rtol=1e-4)
    advantage = (advantage - advantage.mean()) / advantage.std()
    if mean_advantage:
        advantage = np.broadcast_to(advantage.mean(0), (T, B))
    head, time = state.agent.policy.params, np.asarray(traj.obs.time)[..., None]
    log_p = naive.log_softmax(np.asarray(head["rows"])[traj.obs.index] + time * np.asarray(head["time"]))
    chosen = np.take_along_axis(log_p, np.asarray(traj.action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(loss, -(chosen * advantage).mean(), rtol=1e-3, atol=1e-6)
    assert (moved.baseline.params["rows"] != state.baseline.params["rows"]).any()


def test_a_frozen_baseline_stands_still():
    frozen = NetHead(functools.partial(Tabular, 2), optax.set_to_zero(), 1)
    lifetime = life(A2C(), baseline=ValueBaseline(frozen))
    one = level(lifetime=5)

    @jit
    def go(key):
        state = lifetime.init(key, (), one)
        moved, told = lifetime.step(key, (), one, state)
        _, after, _ = lifetime.meta_loss(key, (), one, moved)
        return state, after, told

    state, after, told = go(KEY)
    chex.assert_trees_all_equal(after.baseline, state.baseline)
    assert told["value_loss"] > 0
    assert (after.agent.policy.params["rows"] != state.agent.policy.params["rows"]).any()


def test_the_rule_is_told_of_time_and_moves_the_agent():
    """Another theta, another agent: and the same players, whose actions were drawn before the update."""
    lifetime = life()
    one = level(lifetime=5)
    step = jit(lifetime.step)
    state = jit(lifetime.init)(KEY, (), one)
    moved = [step(KEY, random_theta(lifetime.objective, seed), one, state)[0] for seed in (0, 1)]
    chex.assert_trees_all_equal(moved[0].players, moved[1].players)
    for head in ("policy", "prediction"):
        a, b = (np.asarray(getattr(m.agent, head).params["rows"]) for m in moved)
        assert (a != b).any()


def test_bad_values():
    for name in ("num_envs", "rollout_length"):
        with pytest.raises(ValueError, match=f"RLLifetime: {name}"):
            life(**{name: 0})
    lifetime = life(A2C(), baseline=None)
    with pytest.raises(ValueError, match="needs a value baseline"):
        lifetime.meta_loss(KEY, (), level(), None)
