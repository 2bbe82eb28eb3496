"""Mirror learning's objective against numpy, closed forms, and the five probe environments."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from envs.probes import ACTION_FROM_OBS, ACTION_MATTERS, CONSTANT_VALUE, DISCOUNTING, VALUE_FROM_OBS
from lopt.agents import MinibatchEpochs, PPOLifetime, linear_annealing, live
from lopt.nets import Tabular
from lopt.objectives import DPO, LPG, LPO, PPO, TALPO, Clip, PPOTargets
from lopt.types import AgentOutput, Gaussian, Progress, TabularObs
from tests.reference import naive
from tests.reference.lives import random_theta
from tests.reference.trajectories import output, trajectory

T, B, A = 5, 3, 3
PROGRESS = Progress(step=jnp.int32(3), lifetime=jnp.int32(10))
NORMALISED = PPO(gamma=0.9, lam=0.8, entropy_weight=0.3, value_weight=0.7, value_clip=0.1)
RULES = {
    "PPO": NORMALISED,
    "PPO, as they are": PPO(gamma=0.9, lam=0.8, entropy_weight=0.3, value_clip=None, normalise=False),
}


def data(dtype=np.float32, real=False):
    """A trajectory, outputs on both ends of its steps, and those of the agent some updates later."""
    sizes = {"T": T, "B": B, "num_actions": A, "dtype": dtype, "width": 1}
    traj = trajectory(4, T, B, num_actions=A, dtype=dtype)
    outs = [output(seed, **sizes, scale=scale) for seed, scale in ((1, 1.0), (2, 1.0), (3, 0.3))]
    outs[2] = jax.tree.map(lambda a, b: a + b, outs[0], outs[2])
    if real:
        rng = np.random.default_rng(5)
        traj = traj.replace(action=jnp.array(rng.normal(size=(T, B, A)), dtype))
        outs = [o.replace(policy=Gaussian(o.policy, 0.3 * jnp.sin(3 * o.policy))) for o in outs]
    return traj, *outs


@partial(jax.jit, static_argnums=0)
def evaluate(rule, theta, traj, out, out_next, later):
    """Targets, the loss, what it tells, and its gradient in the agent's later output."""
    targets = rule.targets(theta, traj, out, out_next, PROGRESS)

    def loss(later):
        return rule.loss(theta, later, traj, targets, PROGRESS)

    (value, told), grads = jax.value_and_grad(loss, has_aux=True)(later)
    return targets, value, told, grads


def log_prob(out, action):
    return np.take_along_axis(naive.log_softmax(np.float64(out.policy)), np.asarray(action)[..., None], -1)[..., 0]


def ppo(rule, traj, out, out_next, later):
    """The clipped objective as its paper has it, in numpy: `(loss, value loss, entropy, kl)`."""
    old, new = (np.float64(o.prediction[..., 0]) for o in (out, later))
    arrays = (np.float64(traj.reward), np.asarray(traj.discount), np.asarray(traj.truncated))
    advantage = naive.gae(*arrays, old, np.float64(out_next.prediction[..., 0]), rule.gamma, rule.lam)
    target = advantage + old
    if rule.normalise:
        advantage = (advantage - advantage.mean()) / advantage.std()
    log_ratio = log_prob(later, traj.action) - log_prob(out, traj.action)
    ratio = np.exp(log_ratio)
    surrogate = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    error = (new - target) ** 2
    if rule.value_clip is not None:
        error = np.maximum(error, (old + np.clip(new - old, -rule.value_clip, rule.value_clip) - target) ** 2)
    p = naive.softmax(np.float64(later.policy))
    entropy = -(p * np.log(p)).sum(-1).mean()
    loss = -surrogate.mean() - rule.entropy_weight * entropy + rule.value_weight * error.mean() / 2
    return loss, error.mean() / 2, entropy, (ratio - 1 - log_ratio).mean()


@pytest.mark.parametrize("name", RULES)
def test_loss_equals_numpy(name):
    rule, (traj, out, out_next, later) = RULES[name], data()
    targets, value, told, _ = evaluate(rule, (), traj, out, out_next, later)
    for leaf in jax.tree.leaves(targets):
        assert leaf.shape == traj.action.shape
    expected = ppo(rule, traj, out, out_next, later)
    found = (value, told["critic_loss"], told["policy_entropy"], told["kl"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_the_drift_form_has_the_gradient_of_the_minimum_form(name):
    """Finite differences of the numpy loss, entry by entry."""
    rule = RULES[name]
    with jax.enable_x64(True):
        traj, out, out_next, later = data(np.float64)
        *_, grads = evaluate(rule, (), traj, out, out_next, later)

        def slope(which, at, step=1e-6):
            ends = []
            for sign in (1, -1):
                moved = {name: np.array(getattr(later, name)) for name in ("policy", "prediction")}
                moved[which][at] += sign * step
                ends.append(ppo(rule, traj, out, out_next, AgentOutput(**moved))[0])
            return (ends[0] - ends[1]) / (2 * step)

        clipped = 0
        for t, b in np.ndindex(T, B):
            found = np.asarray(grads.policy[t, b]), np.asarray(grads.prediction[t, b])
            expected = [slope("policy", (t, b, a)) for a in range(A)], [slope("prediction", (t, b, 0))]
            for f, e in zip(found, expected, strict=True):
                np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-8)
        ratio = np.exp(log_prob(later, traj.action) - log_prob(out, traj.action))
        clipped = (np.abs(ratio - 1) > 0.2).mean()
    assert 0.2 < clipped < 0.9


SURROGATES = [PPO(drift, entropy_weight=0.0, value_weight=0.0) for drift in (DPO(), LPO(8, floor=Clip()))]


@pytest.mark.parametrize("rule", SURROGATES, ids=["DPO", "LPO"])
def test_the_drift_is_what_is_taken_from_the_surrogate(rule):
    drift, theta = rule.drift, random_theta(rule)
    traj, out, out_next, later = data()
    targets, value, _, _ = evaluate(rule, theta, traj, out, out_next, later)
    log_ratio = (log_prob(later, traj.action) - log_prob(out, traj.action)).astype(np.float32)
    advantage = np.float64(targets.advantage)
    advantage = ((advantage - advantage.mean()) / advantage.std()).astype(np.float32)
    f = np.asarray(jax.jit(drift)(theta, log_ratio, advantage, PROGRESS))
    assert (f > 0).any()
    np.testing.assert_allclose(value, -(np.exp(log_ratio) * advantage - f).mean(), rtol=1e-4, atol=1e-5)
    # no advantage is lost before the policy has moved
    _, at_one, _, grads = evaluate(rule, theta, traj, out, out_next, out)
    np.testing.assert_allclose(at_one, 0, atol=1e-6)
    p, chosen = naive.softmax(np.float64(out.policy)), np.eye(A)[np.asarray(traj.action)]
    score = -(chosen - p) * advantage[..., None] / advantage.size
    np.testing.assert_allclose(grads.policy, score, rtol=1e-4, atol=1e-6)


def test_real_actions():
    traj, out, out_next, later = data(real=True)
    rule = PPO(entropy_weight=0.1, value_weight=0.0, normalise=False)
    targets, value, told, grads = evaluate(rule, (), traj, out, out_next, later)

    def density(o):
        mean, std = np.float64(o.policy.mean), np.exp(np.float64(o.policy.log_std))
        return (-(((np.asarray(traj.action) - mean) / std) ** 2) / 2 - np.log(std * np.sqrt(2 * np.pi))).sum(-1)

    ratio, advantage = np.exp(density(later) - density(out)), np.float64(targets.advantage)
    surrogate = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage).mean()
    np.testing.assert_allclose(targets.old_log_prob, density(out), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(value, -surrogate - 0.1 * told["policy_entropy"], rtol=1e-4, atol=1e-5)
    assert (np.asarray(grads.policy.mean) != 0).any() and (np.asarray(grads.policy.log_std) != 0).all()
    with pytest.raises(ValueError, match="LPG: .* discrete actions"):
        jax.eval_shape(partial(LPG(1).targets, progress=PROGRESS), (), traj, out, out_next)


def test_a_policy_that_has_run_away_is_no_reason_for_nan():
    traj, out, out_next, _ = data()
    away = jax.tree.map(lambda x: 1e4 * jnp.sign(x), out)
    for rule in (NORMALISED, *SURROGATES):
        values = evaluate(rule, random_theta(rule), traj, out, out_next, away)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))


def test_normalisation_is_over_the_batch_that_the_loss_is_given():
    traj, out, out_next, later = data()
    targets, *_ = evaluate(NORMALISED, (), traj, out, out_next, later)

    @jax.jit
    def loss(scale, shift):
        moved = PPOTargets(
            advantage=scale * targets.advantage + shift,
            value=targets.value,
            old_value=targets.old_value,
            old_log_prob=targets.old_log_prob,
        )
        return NORMALISED.loss((), later, traj, moved, PROGRESS)[0]

    np.testing.assert_allclose(loss(3.0, -2.0), loss(1.0, 0.0), rtol=1e-5, atol=1e-6)


def test_the_loss_of_ones_own_ppo():
    rng = np.random.default_rng(0)
    new, old, advantage = np.float32(rng.normal(0, 0.5, size=(3, 20)))
    ratio = np.exp(new - old)
    clipped = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    loss = jax.jit(lopt.ppo_loss, static_argnums=3)
    np.testing.assert_allclose(loss(new, old, advantage), -clipped.mean(), rtol=1e-5)
    f = np.asarray(lopt.dpo_drift()(jnp.log(ratio), jnp.asarray(advantage)))
    dpo = loss(new, old, advantage, lopt.dpo_drift())
    np.testing.assert_allclose(dpo, -(ratio * advantage - f).mean(), rtol=1e-5)
    np.testing.assert_allclose(loss(new, old, advantage, lopt.clip_drift(1e9)), -(ratio * advantage).mean(), rtol=1e-5)
    some = rng.random(20) < 0.5
    masked = jax.jit(lopt.ppo_loss)(new, old, advantage, where=some)
    np.testing.assert_allclose(masked, -clipped[some].mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        {"gamma": 1.01},
        {"gamma": -0.1},
        {"lam": 2.0},
        {"value_clip": 0.0},
        {"value_clip": math.nan},
        {"entropy_weight": math.nan},
        {"value_weight": math.inf},
    ],
)
def test_bad_values(bad):
    with pytest.raises(ValueError, match=f"PPO: {next(iter(bad))}"):
        PPO(**bad)


PROBES = {
    "constant value": CONSTANT_VALUE,
    "value from observation": VALUE_FROM_OBS,
    "discounting": DISCOUNTING,
    "action matters": ACTION_MATTERS,
    "action from observation": ACTION_FROM_OBS,
}


@pytest.mark.slow
@pytest.mark.parametrize("drift", [Clip(), DPO(), TALPO(16, floor=Clip())], ids=["PPO", "DPO", "TA-LPO"])
@pytest.mark.parametrize("name", PROBES)
def test_solves_the_probe(name, drift):
    env, gamma, updates = PROBES[name], 0.5, 150
    rule = PPO(drift, gamma=gamma, value_clip=None)
    net = partial(Tabular, env.num_states)
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(0.05))
    epochs = MinibatchEpochs(4, 2)
    lifetime = PPOLifetime(
        env, rule, net, net, optimizer, num_envs=16, rollout_length=4, epochs=epochs, anneal=linear_annealing
    )
    level = env(jax.random.key(0)).replace(lifetime=jnp.int32(updates))
    theta = rule.init(jax.random.key(2))

    @jax.jit
    def grow(key):
        agent = live(key, lifetime, theta, level, updates).agent
        index = jnp.arange(env.num_states)[None]
        return lifetime.agent.outputs(agent.params, TabularObs(index, jnp.zeros(index.shape)))

    out = grow(jax.random.key(1))
    policy = naive.softmax(np.asarray(out.policy[0]))
    q, best = env.action_values(gamma, policy), env.action_values(gamma)
    np.testing.assert_allclose(out.prediction[0, :, 0], (policy * q).sum(-1), atol=0.05)
    np.testing.assert_allclose((policy * best).sum(-1), best.max(-1), atol=0.05)
