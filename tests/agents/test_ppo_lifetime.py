"""A life of epochs against plain loops; what it skips computing, and what it refuses.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

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
    RLLifetime,
    episode_returns,
    linear_annealing,
    live,
    no_annealing,
    reset,
    rollout,
)
from lopt.agents.minibatches import permutation
from lopt.agents.ppo_lifetime import outputs
from lopt.nets import MLP, GaussianPolicy, Tabular
from lopt.objectives import A2C, DPO, LPG, LPO, PPO, Clip
from lopt.types import AgentOutput, Gaussian, Progress
from tests.reference import aim, pair
from tests.reference.aim import Aim
from tests.reference.lives import B, T, life, ppo, ppo_on_aim, random_theta
from tests.reference.trajectories import trajectory

KEY = jax.random.key(0)
LIFETIMES = {
    "tables": ppo(PPO(DPO())),
    "real actions, all normalised": ppo_on_aim(
        PPO(Clip(), gamma=0.9, entropy_weight=0.1, value_clip=0.2),
        optimizer=optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
    ),
}
LEVELS = {"tables": pair.level(lifetime=4), "real actions, all normalised": aim.level(lifetime=4)}


@functools.cache
def jitted(name):
    lifetime = LIFETIMES[name]
    return jax.jit(lifetime.init), jax.jit(lifetime.step), jax.jit(lifetime.meta_loss)


def grow(name, updates):
    """The states `[updates + 1]`, and the metrics `[updates]`."""
    init, step, _ = jitted(name)
    states, told = [init(KEY, (), LEVELS[name])], []
    for i in range(updates):
        state, metrics = step(jax.random.fold_in(KEY, i), (), LEVELS[name], states[-1])
        states.append(state)
        told.append(metrics)
    return states, told


def said(agent, params, obs):
    policy = agent.policy.apply({"params": params["policy"]}, obs)
    return AgentOutput(policy, agent.prediction.apply({"params": params["prediction"]}, obs))


def reference(lifetime, level):
    """One step of a life in the plainest form: everything evaluated where it is asked for, one minibatch at a time."""
    agent = lifetime.agent

    @jax.jit
    def play(key, state):
        return rollout(key, lifetime.env, level.params, lambda o: agent.act(state.agent, o), state.players, T)

    @jax.jit
    def prepare(state, traj):
        def normalised(obs):
            return jax.vmap(jax.vmap(lambda o: agent.normalise(state.agent, o)))(obs)

        obs, next_obs = normalised(traj.obs), normalised(traj.next_obs)
        outs = [jax.vmap(jax.vmap(partial(said, agent, state.agent.params)))(o) for o in (obs, next_obs)]
        return obs, lifetime.objective.targets((), traj, *outs, Progress(step=state.age, lifetime=level.lifetime))

    @jax.jit
    def descend(params, opt_state, obs, action, targets, rate):
        def loss(params):
            out = jax.vmap(partial(said, agent, params))(obs)
            log_ratio = policies.log_prob(out.policy, action) - targets.old_log_prob
            advantage = (targets.advantage - targets.advantage.mean()) / (targets.advantage.std() + 1e-8)
            f = lifetime.objective.drift((), log_ratio, advantage, Progress(jnp.int32(0), jnp.int32(1)))
            value, old = out.prediction[..., 0], targets.old_value
            near = old + jnp.clip(value - old, -0.2, 0.2)
            error = jnp.maximum((value - targets.value) ** 2, (near - targets.value) ** 2)
            surrogate = (jnp.exp(log_ratio) * advantage - f).mean()
            entropy = policies.entropy(out.policy).mean()
            return -surrogate - lifetime.objective.entropy_weight * entropy + 0.25 * error.mean()

        updates, opt_state = lifetime.optimizer.update(jax.grad(loss)(params), opt_state, params)
        return jax.tree.map(lambda p, u: p + rate * u, params, updates), opt_state

    return play, prepare, descend


def test_a_step_equals_a_plain_loop():
    """Of two steps: the second has statistics, momentum and annealing behind it."""
    name = "real actions, all normalised"
    lifetime, level = LIFETIMES[name], LEVELS[name]
    play, prepare, descend = reference(lifetime, level)
    states, _ = grow(name, 2)
    raw, returns, total = [], [], np.zeros(B)
    for i, (state, after) in enumerate(zip(states, states[1:], strict=False)):
        key_play, key_learn = jax.random.split(jax.random.fold_in(KEY, i))
        players, traj = play(key_play, state)
        chex.assert_trees_all_close(after.players, players, rtol=1e-5, atol=1e-6)
        raw.append(traj.obs)
        for reward, last in zip(np.asarray(traj.reward), np.asarray(traj.last), strict=True):
            total = reward + 0.9 * total
            returns.append(total)
            total = np.where(last, 0, total)
        traj = traj.replace(reward=traj.reward / np.std(returns).astype(np.float32))
        obs, targets = prepare(state, traj)
        flat = jax.tree.map(lambda x: x.reshape(T * B, *x.shape[2:]), (obs, traj.action, targets))
        params, opt_state = state.agent.params, state.agent.opt_state
        rate = 1 - i / level.lifetime
        for key in jax.random.split(key_learn, 3):
            for rows in np.asarray(permutation(key, T * B)).reshape(2, -1):
                part = jax.tree.map(lambda x, rows=rows: x[rows], flat)
                params, opt_state = descend(params, opt_state, *part, rate)
        chex.assert_trees_all_close(after.agent.params, params, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(after.agent.opt_state, opt_state, rtol=1e-3, atol=1e-5)
        seen = np.concatenate(raw).reshape(-1, 2)
        np.testing.assert_allclose(after.agent.seen.mean, seen.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(after.agent.seen.var, seen.var(0), rtol=1e-4)
    assert states[-1].age == 2


def test_what_is_predicted_next_equals_a_second_pass_wherever_it_counts():
    lifetime = LIFETIMES["real actions, all normalised"]
    agent, state, length = lifetime.agent, grow("real actions, all normalised", 1)[0][-1].agent, 30
    traj, rng = trajectory(T=length), np.random.default_rng(0)
    obs, elsewhere = rng.normal(size=(2, length, B, 2)).astype(np.float32)
    terminated, truncated = np.asarray(traj.discount) == 0, np.asarray(traj.truncated)
    next_obs = np.where(traj.last[..., None], elsewhere, np.concatenate([obs[1:], elsewhere[-1:]]))
    assert truncated[:-1].sum() > 8 and not np.asarray(traj.last)[-1].all()
    drawn_from = Gaussian(jnp.ones((length, B, 2)), jnp.zeros((length, B, 2)))

    @jax.jit
    def both(obs, next_obs):
        def normalised(obs):
            return jax.vmap(jax.vmap(lambda o: agent.normalise(state, o)))(obs)

        found = outputs(agent, state, normalised(obs), traj.replace(obs=obs, next_obs=next_obs), drawn_from)
        return found, [agent.outputs(state.params, normalised(o)).prediction for o in (obs, next_obs)]

    (out, out_next), (expected, expected_next) = both(obs, next_obs)
    chex.assert_trees_all_equal(out.policy, drawn_from)
    np.testing.assert_allclose(out.prediction, expected, rtol=1e-4, atol=1e-5)
    found = np.asarray(out_next.prediction)
    np.testing.assert_allclose(found[~terminated], np.asarray(expected_next)[~terminated], rtol=1e-4, atol=1e-5)
    assert np.isfinite(found).all()
    # an objective that asks for the policy there is told at once that nobody has computed it
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(out_next.policy))


def test_one_norm_is_clipped_for_both_networks():
    optimizer = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    agent = ActorCritic(Tabular(2, 3), Tabular(2, 1), optimizer)
    traj = trajectory(num_states=2)

    @jax.jit
    def step(key):
        state = agent.init(key, tree.take(tree.take(traj.obs, 0), 0))

        def loss(out):
            return (policies.log_prob(out.policy, traj.action) + 2 * out.prediction[..., 0]).mean(), {}

        moved, told = agent.update(state, traj.obs, loss, jnp.float32(0.5))
        return jax.tree.map(jnp.subtract, moved.params, state.params), told

    moved, told = step(KEY)
    np.testing.assert_allclose(optax.tree.norm(moved), 0.5e-3, rtol=1e-3)
    assert all(0 < optax.tree.norm(part) < 0.4999e-3 for part in moved.values())
    assert set(told) == {"loss"}


def test_annealing():
    at = [Progress(step=jnp.int32(step), lifetime=jnp.int32(4)) for step in range(5)]
    np.testing.assert_allclose([linear_annealing(p) for p in at], [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose([no_annealing(p) for p in at], np.ones(5))


def test_the_meta_loss_is_minus_the_return_of_fresh_episodes():
    name = "real actions, all normalised"
    lifetime, level = LIFETIMES[name], LEVELS[name]
    state = grow(name, 2)[0][-1]
    loss, after, told = jitted(name)[2](KEY, (), level, state)
    chex.assert_trees_all_equal(after, state)

    @jax.jit
    def played(key):
        return episode_returns(key, lifetime.env, level.params, lambda o: lifetime.agent.act(state.agent, o), 20, 10)

    np.testing.assert_allclose(loss, -played(KEY).mean(), rtol=1e-5)
    np.testing.assert_allclose(told["return"], -loss)


def test_what_is_told_of_returns():
    init, step, _ = jitted("tables")
    level = pair.level(p_end=0.0, limit=6, lifetime=10)
    state, told = init(KEY, (), level), []
    for i in range(3):
        state, metrics = step(jax.random.fold_in(KEY, i), (), level, state)
        told.append(metrics)
    # episodes of 6 steps, windows of 4: they end in the 2nd and 3rd, and then everything has been counted
    assert np.isnan(told[0]["episode_return"]) and np.isneginf(told[0]["best_return"])
    assert all(m["episode_return"] <= m["best_return"] for m in told[1:])
    returns = told[1]["episode_return"] + told[2]["episode_return"]
    np.testing.assert_allclose(returns, T * sum(m["reward"] for m in told), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.earned, np.zeros(B))


def test_actions_and_policies_have_to_fit():
    level = aim.level()
    logits = ppo_on_aim(policy=partial(MLP, (3,)))
    with pytest.raises(ValueError, match="need a Gaussian policy"):
        jax.eval_shape(logits.step, KEY, (), level, jax.eval_shape(logits.init, KEY, (), level))
    densities = ppo(policy=ppo_on_aim().policy)
    with pytest.raises(ValueError, match="need a policy of logits"):
        jax.eval_shape(
            densities.meta_loss, KEY, (), pair.level(), jax.eval_shape(densities.init, KEY, (), pair.level())
        )
    rule = LPG(2, 4, 3)
    discrete_only = ppo_on_aim(rule)
    theta, state = (jax.eval_shape(f, KEY, *args) for f, args in ((rule.init, ()), (discrete_only.init, ((), level))))
    with pytest.raises(ValueError, match="LPG: .* discrete actions"):
        jax.eval_shape(discrete_only.step, KEY, theta, level, state)
    with pytest.raises(ValueError, match="RLLifetime: actions must be discrete"):
        RLLifetime(Aim(), A2C(), *2 * [life().policy])


def test_actions_are_clipped_for_the_environment_only():
    """Far beyond 1 the reward no longer changes, and the density is that of what was drawn."""
    level = aim.level()

    def far(obs):
        return Gaussian(mean=jnp.full(2, 50.0), log_std=jnp.zeros(2))

    @jax.jit
    def play(key):
        return rollout(key, Aim(), level.params, far, reset(key, Aim(), level.params, B), T)[1]

    traj = play(KEY)
    assert (np.asarray(traj.action) > 40).all()
    np.testing.assert_allclose(traj.reward, -((1 - np.asarray(traj.obs)) ** 2).mean(-1), rtol=1e-5)


class NoPrediction:
    """REINFORCE, for agents that predict nothing."""

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
    moved, _ = jax.jit(lifetime.step)(KEY, (), level, state)
    assert set(state.agent.params) == {"policy"}
    assert (moved.agent.params["policy"]["rows"] != state.agent.params["policy"]["rows"]).any()


def test_the_gradient_in_theta_with_the_play_held_fixed():
    """One step from birth: theta has had no say in what is played."""
    lifetime, level = ppo(PPO(LPO(4, floor=Clip())), optimizer=optax.sgd(3.0)), pair.level()
    theta = random_theta(lifetime.objective)
    state = jax.jit(lifetime.init)(KEY, theta, level)

    def after(theta):
        moved, _ = lifetime.step(KEY, theta, level, state)
        return sum(jnp.sin(x).sum() for x in jax.tree.leaves(moved.agent.params))

    value = jax.jit(after)
    grads = jax.jit(jax.grad(after))(theta)
    for name in theta:
        way = {
            key: np.float32(np.sin(np.arange(x.size) + 1).reshape(x.shape) * (key == name)) for key, x in theta.items()
        }
        ahead, back = (value({key: x + e * way[key] for key, x in theta.items()}) for e in (1e-2, -1e-2))
        slope = sum((grads[key] * way[key]).sum() for key in theta)
        np.testing.assert_allclose((ahead - back) / 2e-2, slope, rtol=0.03)
        assert abs(slope) > 1e-3


@pytest.mark.parametrize("name", ["num_envs", "rollout_length", "eval_episodes", "eval_steps"])
def test_bad_values(name):
    with pytest.raises(ValueError, match=f"PPOLifetime: {name}"):
        ppo(**{name: 0})


def test_minibatches_of_unequal_size():
    with pytest.raises(ValueError, match="must divide the 4 x 3 transitions"):
        ppo(epochs=MinibatchEpochs(1, 5))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [PPO(), PPO(DPO()), A2C()], ids=["PPO", "DPO", "A2C"])
def test_it_learns_to_aim(rule):
    """With actions drawn around the goal the reward is minus the variance; standing still at zero earns -1/12."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3, eps=1e-5))
    sizes = {"num_envs": 16, "rollout_length": 32, "epochs": MinibatchEpochs(4, 4), "eval_episodes": 256}
    net = partial(MLP, (32,), activation=jnp.tanh)
    policy = partial(GaussianPolicy, net)
    lifetime = ppo_on_aim(rule, policy=policy, prediction=net, optimizer=optimizer, **sizes)
    level = aim.level(p_end=0.0, limit=10, lifetime=150)

    @jax.jit
    def life(key):
        grown = live(key, lifetime, (), level, 150)
        return lifetime.meta_loss(key, (), level, grown)[0], grown.agent.params["policy"]["log_std"]

    loss, log_std = life(KEY)
    assert loss < 0.2
    assert (np.asarray(log_std) < -1).all()
