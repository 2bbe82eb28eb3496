"""`PPOLifetime` compared with Python loops, the forward passes it avoids, and invalid arguments.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

import dataclasses
import functools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import policies, tree
from lopt.agents import (
    ActorCritic,
    MinibatchEpochs,
    episode_returns,
    linear_annealing,
    no_annealing,
    reset,
    rollout,
    train_learner,
)
from lopt.agents.ppo_lifetime import outputs
from lopt.agents.rollout import permutation
from lopt.nets import MLP, GaussianPolicy, Tabular
from lopt.objectives import A2C, DPO, LPG, LPO, PPO, Clip
from lopt.types import AgentOutput, Gaussian, Progress
from tests.reference import aim, pair
from tests.reference.aim import Aim
from tests.reference.lifetimes import B, T, ppo, ppo_on_aim, random_theta, rl_lifetime
from tests.reference.trajectories import trajectory

KEY = jax.random.key(0)
LIFETIMES = {
    "tables": ppo(PPO(drift=DPO())),
    "real actions, normalised": ppo_on_aim(
        PPO(drift=Clip(), gamma=0.9, entropy_weight=0.1, value_clip=0.2),
        optimizer=optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
    ),
}
LEVELS = {"tables": pair.level(num_updates=4), "real actions, normalised": aim.level(num_updates=4)}


@functools.cache
def jitted(name):
    lifetime = LIFETIMES[name]
    return jax.jit(lifetime.init), jax.jit(lifetime.step), jax.jit(lifetime.meta_loss)


def train(name, updates):
    """The states `[updates + 1]`, and the metrics `[updates]`."""
    init, step, _ = jitted(name)
    states, history = [init(KEY, (), LEVELS[name])], []
    for i in range(updates):
        state, info = step(jax.random.fold_in(KEY, i), (), LEVELS[name], states[-1])
        states.append(state)
        history.append(info.metrics)
    return states, history


def forward(agent, params, obs):
    policy = agent.policy.apply({"params": params["policy"]}, obs)
    return AgentOutput(policy, agent.prediction.apply({"params": params["prediction"]}, obs))


def reference(lifetime, level):
    """The parts of one update: rollout, targets by two full forward passes, and one minibatch step."""
    agent = lifetime.agent

    @jax.jit
    def sample(key, state):
        return rollout(key, lifetime.env, level.params, lambda o: agent.act(state.agent, o), state.env_batch, T)

    @jax.jit
    def normalised_obs_and_targets(state, traj):
        def normalised(obs):
            return jax.vmap(jax.vmap(lambda o: agent.normalise(state.agent, o)))(obs)

        obs, next_obs = normalised(traj.obs), normalised(traj.next_obs)
        outs = [jax.vmap(jax.vmap(partial(forward, agent, state.agent.params)))(o) for o in (obs, next_obs)]
        return obs, lifetime.objective.targets((), traj, *outs, Progress(step=state.age, num_updates=level.num_updates))

    @jax.jit
    def minibatch_step(params, opt_state, obs, action, targets, rate):
        def loss(params):
            out = jax.vmap(partial(forward, agent, params))(obs)
            log_ratio = policies.log_prob(out.policy, action) - targets.old_log_prob
            advantage = (targets.advantage - targets.advantage.mean()) / (targets.advantage.std() + 1e-8)
            f = lifetime.objective.drift((), log_ratio, advantage, Progress(jnp.int32(0), jnp.int32(1)))
            value, old = out.prediction[..., 0], targets.old_value
            clipped = old + jnp.clip(value - old, -0.2, 0.2)
            error = jnp.maximum((value - targets.value) ** 2, (clipped - targets.value) ** 2)
            surrogate = (jnp.exp(log_ratio) * advantage - f).mean()
            entropy = policies.entropy(out.policy).mean()
            return -surrogate - lifetime.objective.entropy_weight * entropy + 0.25 * error.mean()

        updates, opt_state = lifetime.optimizer.update(jax.grad(loss)(params), opt_state, params)
        return jax.tree.map(lambda p, u: p + rate * u, params, updates), opt_state

    return sample, normalised_obs_and_targets, minibatch_step


def test_two_updates_equal_a_python_loop():
    """The second update starts with running statistics, momentum and annealing from the first."""
    name = "real actions, normalised"
    lifetime, level = LIFETIMES[name], LEVELS[name]
    sample, normalised_obs_and_targets, minibatch_step = reference(lifetime, level)
    states, _ = train(name, 2)
    raw, returns, total = [], [], np.zeros(B)
    for i, (state, after) in enumerate(zip(states, states[1:], strict=False)):
        key_rollout, key_update = jax.random.split(jax.random.fold_in(KEY, i))
        env_batch, traj = sample(key_rollout, state)
        chex.assert_trees_all_close(after.env_batch, env_batch, rtol=1e-5, atol=1e-6)
        raw.append(traj.obs)
        for reward, last in zip(np.asarray(traj.reward), np.asarray(traj.last), strict=True):
            total = reward + 0.9 * total
            returns.append(total)
            total = np.where(last, 0, total)
        traj = traj.replace(reward=traj.reward / np.std(returns).astype(np.float32))
        obs, targets = normalised_obs_and_targets(state, traj)
        flat = jax.tree.map(lambda x: x.reshape(T * B, *x.shape[2:]), (obs, traj.action, targets))
        params, opt_state = state.agent.params, state.agent.opt_state
        factor = 1 - i / level.num_updates
        for key in jax.random.split(key_update, 3):
            for rows in np.asarray(permutation(key, T * B)).reshape(2, -1):
                part = jax.tree.map(lambda x, rows=rows: x[rows], flat)
                params, opt_state = minibatch_step(params, opt_state, *part, factor)
        chex.assert_trees_all_close(after.agent.params, params, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(after.agent.opt_state, opt_state, rtol=1e-3, atol=1e-5)
        all_obs = np.concatenate(raw).reshape(-1, 2)
        np.testing.assert_allclose(after.agent.obs_moments.mean, all_obs.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(after.agent.obs_moments.var, all_obs.var(0), rtol=1e-4)
    assert states[-1].age == 2


def test_predictions_at_next_obs_equal_a_second_forward_pass():
    lifetime = LIFETIMES["real actions, normalised"]
    agent, state, length = lifetime.agent, train("real actions, normalised", 1)[0][-1].agent, 30
    traj, rng = trajectory(T=length), np.random.default_rng(0)
    obs, final_obs = rng.normal(size=(2, length, B, 2)).astype(np.float32)
    terminated, truncated = np.asarray(traj.discount) == 0, np.asarray(traj.truncated)
    next_obs = np.where(traj.last[..., None], final_obs, np.concatenate([obs[1:], final_obs[-1:]]))
    assert truncated[:-1].sum() > 8 and not np.asarray(traj.last)[-1].all()
    policy = Gaussian(jnp.ones((length, B, 2)), jnp.zeros((length, B, 2)))

    @jax.jit
    def outputs_and_expected(obs, next_obs):
        def normalised(obs):
            return jax.vmap(jax.vmap(lambda o: agent.normalise(state, o)))(obs)

        outs = outputs(agent, state, normalised(obs), traj.replace(obs=obs, next_obs=next_obs), policy)
        return outs, [agent.outputs(state.params, normalised(o)).prediction for o in (obs, next_obs)]

    (out, out_next), (expected, expected_next) = outputs_and_expected(obs, next_obs)
    chex.assert_trees_all_equal(out.policy, policy)
    np.testing.assert_allclose(out.prediction, expected, rtol=1e-4, atol=1e-5)
    actual = np.asarray(out_next.prediction)
    np.testing.assert_allclose(actual[~terminated], np.asarray(expected_next)[~terminated], rtol=1e-4, atol=1e-5)
    assert np.isfinite(actual).all()
    # an objective that used the policy at next_obs would be NaN
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(out_next.policy))


def test_clipping_is_by_the_gradient_norm_of_both_networks():
    optimizer = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    agent = ActorCritic(policy=Tabular(2, 3), prediction=Tabular(2, 1), optimizer=optimizer)
    traj = trajectory(num_states=2)

    @jax.jit
    def step(key):
        state = agent.init(key, tree.take(tree.take(traj.obs, 0), 0))

        def loss(out):
            return (policies.log_prob(out.policy, traj.action) + 2 * out.prediction[..., 0]).mean(), {}

        updated, metrics = agent.update(state, traj.obs, loss, jnp.float32(0.5))
        return jax.tree.map(jnp.subtract, updated.params, state.params), metrics

    update, metrics = step(KEY)
    np.testing.assert_allclose(optax.tree.norm(update), 0.5e-3, rtol=1e-3)
    assert all(0 < optax.tree.norm(part) < 0.4999e-3 for part in update.values())
    assert set(metrics) == {"loss"}


def test_annealing():
    progress = [Progress(step=jnp.int32(step), num_updates=jnp.int32(4)) for step in range(5)]
    np.testing.assert_allclose([linear_annealing(p) for p in progress], [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose([no_annealing(p) for p in progress], np.ones(5))


def test_the_meta_loss_is_minus_the_return_of_fresh_episodes():
    name = "real actions, normalised"
    lifetime, level = LIFETIMES[name], LEVELS[name]
    state = train(name, 2)[0][-1]
    loss, after, metrics = jitted(name)[2](KEY, (), level, state)
    chex.assert_trees_all_equal(after, state)

    @jax.jit
    def mean_returns(key):
        return episode_returns(key, lifetime.env, level.params, lambda o: lifetime.agent.act(state.agent, o), 20, 10)

    np.testing.assert_allclose(loss, -mean_returns(KEY).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["return"], -loss)


def test_return_metrics():
    init, step, _ = jitted("tables")
    level = pair.level(p_end=0.0, limit=6, num_updates=10)
    state, history = init(KEY, (), level), []
    for i in range(3):
        state, info = step(jax.random.fold_in(KEY, i), (), level, state)
        history.append(info.metrics)
    # episodes of 6 steps and rollouts of 4: episodes end in the 2nd and 3rd rollout, and none is unfinished then
    assert np.isnan(history[0]["episode_return"]) and np.isneginf(history[0]["best_return"])
    assert all(m["episode_return"] <= m["best_return"] for m in history[1:])
    returns = history[1]["episode_return"] + history[2]["episode_return"]
    np.testing.assert_allclose(returns, T * sum(m["reward"] for m in history), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.running_return, np.zeros(B))


def test_policies_of_the_wrong_kind_of_action_raise():
    level = aim.level()
    logits = ppo_on_aim(policy=partial(MLP, (3,)))
    with pytest.raises(ValueError, match="need a Gaussian policy"):
        jax.eval_shape(logits.step, KEY, (), level, jax.eval_shape(logits.init, KEY, (), level))
    gaussian = ppo(policy=ppo_on_aim().policy)
    with pytest.raises(ValueError, match="need a policy of logits"):
        jax.eval_shape(gaussian.meta_loss, KEY, (), pair.level(), jax.eval_shape(gaussian.init, KEY, (), pair.level()))
    rule = LPG(prediction_size=2, hidden=4, embedding=3)
    discrete_only = ppo_on_aim(rule)
    theta, state = (jax.eval_shape(f, KEY, *args) for f, args in ((rule.init, ()), (discrete_only.init, ((), level))))
    with pytest.raises(ValueError, match="LPG: .* discrete actions"):
        jax.eval_shape(discrete_only.step, KEY, theta, level, state)
    with pytest.raises(ValueError, match="RLLifetime: actions must be discrete"):
        dataclasses.replace(rl_lifetime(A2C(), baseline=None), env=Aim())


def test_actions_are_clipped_for_the_environment_only():
    """The environment receives clipped actions; the trajectory holds the sampled ones."""
    level = aim.level()

    def policy(obs):
        return Gaussian(mean=jnp.full(2, 50.0), log_std=jnp.zeros(2))

    @jax.jit
    def sample(key):
        return rollout(key, Aim(), level.params, policy, reset(key, Aim(), level.params, B), T)[1]

    traj = sample(KEY)
    assert (np.asarray(traj.action) > 40).all()
    np.testing.assert_allclose(traj.reward, -((1 - np.asarray(traj.obs)) ** 2).mean(-1), rtol=1e-5)


class NoPrediction:
    """REINFORCE with the immediate reward, for agents without predictions."""

    prediction_size = 0

    def init(self, key):
        return ()

    def targets(self, theta, traj, out, out_next, progress):
        return traj.reward

    def loss(self, theta, out, traj, targets, progress):
        return -(policies.log_prob(out.policy, traj.action) * targets).mean(), {}


def test_an_agent_without_predictions():
    lifetime, level = ppo(NoPrediction()), pair.level()
    state = jax.jit(lifetime.init)(KEY, (), level)
    updated, _ = jax.jit(lifetime.step)(KEY, (), level, state)
    assert set(state.agent.params) == {"policy"}
    assert (updated.agent.params["policy"]["rows"] != state.agent.params["policy"]["rows"]).any()


def test_the_gradient_in_theta_of_an_update():
    """Finite differences over the first update, whose rollout does not depend on theta."""
    lifetime, level = ppo(PPO(drift=LPO(hidden=4, base_drift=Clip())), optimizer=optax.sgd(3.0)), pair.level()
    theta = random_theta(lifetime.objective)
    state = jax.jit(lifetime.init)(KEY, theta, level)

    def total(theta):
        updated, _ = lifetime.step(KEY, theta, level, state)
        return sum(jnp.sin(x).sum() for x in jax.tree.leaves(updated.agent.params))

    value = jax.jit(total)
    grads = jax.jit(jax.grad(total))(theta)
    for name in theta:
        direction = {
            key: np.float32(np.sin(np.arange(x.size) + 1).reshape(x.shape) * (key == name)) for key, x in theta.items()
        }
        forward, backward = (value({key: x + e * direction[key] for key, x in theta.items()}) for e in (1e-2, -1e-2))
        slope = sum((grads[key] * direction[key]).sum() for key in theta)
        np.testing.assert_allclose((forward - backward) / 2e-2, slope, rtol=0.03)
        assert abs(slope) > 1e-3


@pytest.mark.parametrize("name", ["num_envs", "rollout_length", "eval_episodes", "eval_steps"])
def test_bad_values(name):
    with pytest.raises(ValueError, match=f"PPOLifetime: {name}"):
        ppo(**{name: 0})


def test_minibatches_of_unequal_size():
    with pytest.raises(ValueError, match="must divide the 4 x 3 transitions"):
        ppo(epochs=MinibatchEpochs(1, 5))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [PPO(), PPO(drift=DPO()), A2C()], ids=["PPO", "DPO", "A2C"])
def test_it_learns_to_aim(rule):
    """At the optimum the reward is minus the policy's variance; the constant action zero has the mean reward -1/12."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3, eps=1e-5))
    sizes = {"num_envs": 16, "rollout_length": 32, "epochs": MinibatchEpochs(4, 4), "eval_episodes": 256}
    net = partial(MLP, (32,), activation=jnp.tanh)
    policy = partial(GaussianPolicy, net)
    lifetime = ppo_on_aim(rule, policy=policy, prediction=net, optimizer=optimizer, **sizes)
    level = aim.level(p_end=0.0, limit=10, num_updates=150)

    @jax.jit
    def train_and_evaluate(key):
        learner = train_learner(key, lifetime, (), level, 150)
        return lifetime.meta_loss(key, (), level, learner)[0], learner.agent.params["policy"]["log_std"]

    loss, log_std = train_and_evaluate(KEY)
    assert loss < 0.2
    assert (np.asarray(log_std) < -1).all()
