"""Agents trained by a loaded objective, in any environment of the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from envs import Chain, Fixed, short_chain
from envs.chain import ChainLevel
from envs.gymnax import gymnax_env
from lopt.rules import card_of, load, save_rule

SIZES = {"num_envs": 4, "rollout_length": 5, "policy_rate": 10.0}


@pytest.fixture
def a2c(tmp_path):
    """A2C as a rule file: it learns, and its targets are known."""
    save_rule(tmp_path / "rule", {}, card_of(lopt.A2C(), agent=SIZES))
    return load(tmp_path / "rule")


def test_an_agent_learns_a_chain_and_acts(a2c, key):
    levels = short_chain(lengths=Fixed(3))
    agent, returns = a2c.train(levels, key, num_updates=60, num_measurements=4, num_episodes=64)
    assert returns.shape == (5,) and isinstance(returns, np.ndarray)
    assert abs(returns[0]) < 0.6 and returns[-1] > 0.9  # returns are 1 or -1
    obs, _ = levels.environment.reset(key, levels(key).params)
    assert agent.policy(obs).shape == (2,)
    assert int(agent.act(key, obs)) in (0, 1)


def test_the_lifetime_is_the_rules_own_and_replaceable(a2c, key):
    levels = short_chain()
    lifetime = a2c.lifetime(levels, num_envs=3)
    assert (lifetime.num_envs, lifetime.rollout_length, lifetime.objective) == (3, 5, lopt.A2C())
    _, returns = a2c.train(levels, key, num_updates=3, lifetime=lifetime, num_measurements=2)
    assert returns.shape == (3,)  # two updates, and one


def test_the_same_key_gives_the_same_agent(a2c, key):
    levels = short_chain(lengths=Fixed(3))
    first, second = (a2c.train(levels, jax.random.clone(key), num_updates=4, num_measurements=2) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    jax.tree.map(np.testing.assert_array_equal, first[0].state, second[0].state)


def test_observations_of_another_form_get_a_network(a2c, key):
    agent, returns = a2c.train(gymnax_env("CartPole-v1"), key, num_updates=2, num_measurements=1, max_steps=20)
    assert returns.shape == (2,) and agent.policy(jnp.zeros(4)).shape == (2,)


def test_an_environment_alone_needs_a_level(a2c, key):
    env = Chain(max_length=5)
    level = ChainLevel(length=jnp.int32(3), good_action=jnp.int32(1))
    _, returns = a2c.train(env, key, num_updates=2, num_measurements=1, level=level)
    assert returns.shape == (2,)
    with pytest.raises(ValueError, match="an environment and level="):
        a2c.train(env, key, num_updates=2)


@pytest.mark.parametrize("name", ["num_updates", "num_measurements", "num_episodes"])
def test_numbers_below_one_are_errors(a2c, key, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        a2c.train(short_chain(), key, **({"num_updates": 2} | {name: 0}))


@pytest.mark.slow
def test_it_stands_where_a_trained_rule_does_and_keeps_its_settings(a2c):
    levels = short_chain(lengths=Fixed(3), num_updates=Fixed(40))
    sizes = {"num_levels": 2, "num_episodes": 16}
    own, same, other = (
        lopt.meta_test({"rule": a2c}, levels, lifetimes=lifetimes, **sizes).returns["rule"]
        for lifetimes in (None, {"rule": a2c.lifetime(levels)}, {"rule": a2c.lifetime(levels, policy_rate=1e-6)})
    )
    assert own.shape == (2, 2)
    np.testing.assert_array_equal(own, same)
    assert own.mean() > other.mean() + 0.5  # agents that do not learn
    learner = lopt.lpg(levels, a2c, num_lifetimes=2)
    assert learner.rule is a2c and learner.estimator.lifetime.num_envs == SIZES["num_envs"]


def test_settings_of_agents_that_there_are_not_are_errors(tmp_path):
    save_rule(tmp_path / "rule", {}, card_of(lopt.A2C(), agent={"rate": 10.0}))
    with pytest.raises(ValueError, match="rule: .*settings of agents have no rate .there are levels"):
        load(tmp_path / "rule")


def test_what_is_no_rule_is_named_before_anything_is_trained(a2c):
    with pytest.raises(ValueError, match="'drift' must be an objective or a trained rule .got Clip"):
        lopt.meta_test({"rule": a2c, "drift": lopt.objectives.Clip()}, short_chain())
