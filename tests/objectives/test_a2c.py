"""Advantage actor-critic: closed forms, finite differences, and the five probe environments."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.probes import ACTION_FROM_OBS, ACTION_MATTERS, CONSTANT_VALUE, DISCOUNTING, VALUE_FROM_OBS
from experiments.grid.compat import MeanAdvantageA2C
from lopt.agents import RLLifetime, TrainableTable, train_learner
from lopt.objectives import A2C
from lopt.types import AgentOutput, Progress, TabularObs
from tests.reference import naive
from tests.reference.trajectories import output, trajectory

T, B, A = 5, 3, 3
PROGRESS = Progress(step=jnp.int32(3), num_updates=jnp.int32(10))


def data(dtype=np.float32):
    sizes = {"T": T, "B": B, "num_actions": A, "dtype": dtype, "width": 1}
    return trajectory(4, T, B, num_actions=A, dtype=dtype), output(1, **sizes), output(2, **sizes)


def advantages(rule, traj, out, out_next):
    value, value_next = (np.float64(o.prediction[..., 0]) for o in (out, out_next))
    arrays = (np.float64(traj.reward), np.asarray(traj.discount), np.asarray(traj.truncated), value, value_next)
    return naive.gae(*arrays, rule.gamma, rule.lam)


def action_log_prob(out, traj):
    log_p = naive.log_softmax(np.asarray(out.policy))
    return np.take_along_axis(log_p, np.asarray(traj.action)[..., None], -1)[..., 0]


def test_targets():
    traj, out, out_next = data()
    rules = A2C(gamma=0.9, lam=0.8, normalise=False), A2C(gamma=0.9, lam=0.8)
    mean_rule = MeanAdvantageA2C(rules[1])
    targets = jax.jit(lambda *xs: [rule.targets((), *xs, PROGRESS) for rule in (*rules, mean_rule)])
    raw, normalised, mean = targets(traj, out, out_next)
    expected = advantages(rules[0], traj, out, out_next)
    np.testing.assert_allclose(raw.advantage, expected, rtol=1e-4, atol=1e-5)
    # value targets do not depend on the normalisation; their shape is that of the log-probabilities
    for each in (raw, normalised, mean):
        assert each.value.shape == each.advantage.shape == traj.action.shape
        np.testing.assert_allclose(each.value, expected + out.prediction[..., 0], rtol=1e-4, atol=1e-5)
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(normalised.advantage, expected, rtol=1e-4, atol=1e-5)
    expected = np.broadcast_to(expected.mean(0), expected.shape)
    np.testing.assert_allclose(mean.advantage, expected, rtol=1e-4, atol=1e-5)


def test_mean_advantage_is_the_outer_product_of_groove():
    traj, out, out_next = data()
    rule = A2C(gamma=0.9, lam=0.8, entropy_weight=0.0, value_weight=0.0)
    compatible = MeanAdvantageA2C(rule)

    def loss(rule, *xs):
        targets = rule.targets((), *xs, PROGRESS)
        return rule.loss((), out, traj, targets, PROGRESS)[0], targets.advantage

    _, advantage = jax.jit(partial(loss, rule))(traj, out, out_next)
    actual, _ = jax.jit(partial(loss, compatible))(traj, out, out_next)
    log_p = np.take_along_axis(naive.log_softmax(np.asarray(out.policy)), np.asarray(traj.action)[..., None], -1)[
        ..., 0
    ]
    outer = [(np.asarray(advantage)[:, b][:, None] * log_p[:, b][None]).mean() for b in range(B)]
    np.testing.assert_allclose(actual, -np.mean(outer), rtol=1e-4, atol=1e-6)


def test_loss_and_its_gradient():
    rule = A2C(gamma=0.9, lam=0.8, entropy_weight=0.3, value_weight=0.7)
    with jax.enable_x64(True):
        traj, out, out_next = data(np.float64)
        targets = jax.jit(rule.targets)((), traj, out, out_next, PROGRESS)

        @jax.jit
        def loss(out):
            return rule.loss((), out, traj, targets, PROGRESS)[0]

        value, grads = loss(out), jax.jit(jax.grad(loss.__wrapped__))(out)
        p, log_p = naive.softmax(np.asarray(out.policy)), naive.log_softmax(np.asarray(out.policy))
        error = (np.asarray(out.prediction)[..., 0] - np.asarray(targets.value)) ** 2
        expected = (
            -(action_log_prob(out, traj) * targets.advantage).mean()
            + 0.3 * (p * log_p).sum(-1).mean()
            + 0.7 * error.mean()
        )
        np.testing.assert_allclose(value, expected.mean(), rtol=1e-9)
        rng = np.random.default_rng(0)
        for _ in range(3):
            direction = jax.tree.map(lambda x: rng.normal(size=x.shape), out)
            forward, backward = (
                AgentOutput(*[x + e * d for x, d in zip(*map(_leaves, (out, direction)), strict=True)])
                for e in (1e-5, -1e-5)
            )
            slope = sum((g * d).sum() for g, d in zip(*map(_leaves, (grads, direction)), strict=True))
            np.testing.assert_allclose((loss(forward) - loss(backward)) / 2e-5, slope, rtol=1e-6)


def _leaves(out):
    return out.policy, out.prediction


def test_no_gradient_flows_into_the_targets():
    traj, out, out_next = data()

    @jax.jit
    @jax.grad
    def total(outs):
        targets = A2C().targets((), traj, *outs, PROGRESS)
        return targets.advantage.sum() + (targets.value**2).sum()

    for grads in jax.tree.leaves(total((out, out_next))):
        np.testing.assert_array_equal(grads, np.zeros(grads.shape))


@pytest.mark.parametrize("bad", [{"gamma": 1.01}, {"gamma": -0.1}, {"lam": 2.0}])
def test_bad_values(bad):
    with pytest.raises(ValueError, match=f"A2C: {next(iter(bad))}"):
        A2C(**bad)


def test_it_has_no_meta_parameters_and_a_prediction_of_width_one():
    assert A2C().init(jax.random.key(0)) == ()
    assert A2C().prediction_size == 1


PROBES = {
    "constant value": CONSTANT_VALUE,
    "value from observation": VALUE_FROM_OBS,
    "discounting": DISCOUNTING,
    "action matters": ACTION_MATTERS,
    "action from observation": ACTION_FROM_OBS,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_it_solves_the_probe(name):
    env, gamma, updates = PROBES[name], 0.5, 300
    factory = partial(TrainableTable, num_states=env.num_states, learning_rate=0.3, max_norm=10.0)
    rule = A2C(gamma=gamma, entropy_weight=0.0, normalise=False)
    lifetime = RLLifetime(env=env, objective=rule, policy=factory, prediction=factory, num_envs=16, rollout_length=4)
    level = env(jax.random.key(0)).replace(num_updates=jnp.int32(updates))

    @jax.jit
    def train(key):
        agent = train_learner(key, lifetime, (), level, updates).agent
        index = jnp.arange(env.num_states)[None]
        return lifetime.agent.outputs(agent, TabularObs(index, jnp.zeros(index.shape)))

    out = train(jax.random.key(1))
    policy = naive.softmax(np.asarray(out.policy[0]))
    q, best = env.action_values(gamma, policy), env.action_values(gamma)
    np.testing.assert_allclose(out.prediction[0, :, 0], (policy * q).sum(-1), atol=0.05)
    np.testing.assert_allclose((policy * best).sum(-1), best.max(-1), atol=0.05)
