"""PPO with drifts compared with NumPy and closed forms, and on the five probe environments."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from envs.probes import ACTION_FROM_OBS, ACTION_MATTERS, CONSTANT_VALUE, DISCOUNTING, VALUE_FROM_OBS
from lopt.agents import MinibatchEpochs, PPOLifetime, linear_annealing, train_learner
from lopt.nets import Tabular
from lopt.objectives import DPO, LPG, LPO, PPO, TALPO, Clip, PPOTargets
from lopt.types import AgentOutput, Gaussian, Progress, TabularObs
from tests.reference import naive
from tests.reference.lifetimes import random_theta
from tests.reference.trajectories import output, trajectory

T, B, A = 5, 3, 3
PROGRESS = Progress(step=jnp.int32(3), num_updates=jnp.int32(10))
NORMALISED = PPO(gamma=0.9, lam=0.8, entropy_weight=0.3, value_weight=0.7, value_clip=0.1)
RULES = {
    "PPO": NORMALISED,
    "PPO, not normalised": PPO(gamma=0.9, lam=0.8, entropy_weight=0.3, value_clip=None, normalise=False),
}


def data(dtype=np.float32, real=False):
    """A trajectory, outputs at obs and next_obs, and the outputs at obs after some updates (`updated`)."""
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
def evaluate(rule, theta, traj, out, out_next, updated):
    """Targets, the loss, its metrics, and its gradient in the updated agent's output."""
    targets = rule.targets(theta, traj, out, out_next, PROGRESS)

    def loss(updated):
        return rule.loss(theta, updated, traj, targets, PROGRESS)

    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(updated)
    return targets, value, metrics, grads


def log_prob(out, action):
    return np.take_along_axis(naive.log_softmax(np.float64(out.policy)), np.asarray(action)[..., None], -1)[..., 0]


def numpy_ppo(rule, traj, out, out_next, updated):
    """PPO's clipped objective in NumPy: `(loss, value loss, entropy, kl)`."""
    old, new = (np.float64(o.prediction[..., 0]) for o in (out, updated))
    arrays = (np.float64(traj.reward), np.asarray(traj.discount), np.asarray(traj.truncated))
    advantage = naive.gae(*arrays, old, np.float64(out_next.prediction[..., 0]), rule.gamma, rule.lam)
    target = advantage + old
    if rule.normalise:
        advantage = (advantage - advantage.mean()) / advantage.std()
    log_ratio = log_prob(updated, traj.action) - log_prob(out, traj.action)
    ratio = np.exp(log_ratio)
    surrogate = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    error = (new - target) ** 2
    if rule.value_clip is not None:
        error = np.maximum(error, (old + np.clip(new - old, -rule.value_clip, rule.value_clip) - target) ** 2)
    p = naive.softmax(np.float64(updated.policy))
    entropy = -(p * np.log(p)).sum(-1).mean()
    loss = -surrogate.mean() - rule.entropy_weight * entropy + rule.value_weight * error.mean() / 2
    return loss, error.mean() / 2, entropy, (ratio - 1 - log_ratio).mean()


@pytest.mark.parametrize("name", RULES)
def test_loss_equals_numpy(name):
    rule, (traj, out, out_next, updated) = RULES[name], data()
    targets, value, metrics, _ = evaluate(rule, (), traj, out, out_next, updated)
    for leaf in jax.tree.leaves(targets):
        assert leaf.shape == traj.action.shape
    expected = numpy_ppo(rule, traj, out, out_next, updated)
    actual = (value, metrics["critic_loss"], metrics["policy_entropy"], metrics["kl"])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_the_drift_form_has_the_gradient_of_the_clipped_surrogate(name):
    """Finite differences of the NumPy loss, entry by entry."""
    rule = RULES[name]
    with jax.enable_x64(True):
        traj, out, out_next, updated = data(np.float64)
        *_, grads = evaluate(rule, (), traj, out, out_next, updated)

        def slope(output, index, step=1e-6):
            losses = []
            for sign in (1, -1):
                perturbed = {name: np.array(getattr(updated, name)) for name in ("policy", "prediction")}
                perturbed[output][index] += sign * step
                losses.append(numpy_ppo(rule, traj, out, out_next, AgentOutput(**perturbed))[0])
            return (losses[0] - losses[1]) / (2 * step)

        clipped = 0
        for t, b in np.ndindex(T, B):
            actual = np.asarray(grads.policy[t, b]), np.asarray(grads.prediction[t, b])
            expected = [slope("policy", (t, b, a)) for a in range(A)], [slope("prediction", (t, b, 0))]
            for a, e in zip(actual, expected, strict=True):
                np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-8)
        ratio = np.exp(log_prob(updated, traj.action) - log_prob(out, traj.action))
        clipped = (np.abs(ratio - 1) > 0.2).mean()
    assert 0.2 < clipped < 0.9


SURROGATES = [
    PPO(drift=drift, entropy_weight=0.0, value_weight=0.0) for drift in (DPO(), LPO(hidden=8, base_drift=Clip()))
]


@pytest.mark.parametrize("rule", SURROGATES, ids=["DPO", "LPO"])
def test_the_drift_is_subtracted_from_the_surrogate(rule):
    drift, theta = rule.drift, random_theta(rule)
    traj, out, out_next, updated = data()
    targets, value, _, _ = evaluate(rule, theta, traj, out, out_next, updated)
    log_ratio = (log_prob(updated, traj.action) - log_prob(out, traj.action)).astype(np.float32)
    advantage = np.float64(targets.advantage)
    advantage = ((advantage - advantage.mean()) / advantage.std()).astype(np.float32)
    f = np.asarray(jax.jit(drift)(theta, log_ratio, advantage, PROGRESS))
    assert (f > 0).any()
    np.testing.assert_allclose(value, -(np.exp(log_ratio) * advantage - f).mean(), rtol=1e-4, atol=1e-5)
    # at r = 1 the loss is zero and its gradient is that of the policy gradient
    _, at_one, _, grads = evaluate(rule, theta, traj, out, out_next, out)
    np.testing.assert_allclose(at_one, 0, atol=1e-6)
    p, one_hot = naive.softmax(np.float64(out.policy)), np.eye(A)[np.asarray(traj.action)]
    score = -(one_hot - p) * advantage[..., None] / advantage.size
    np.testing.assert_allclose(grads.policy, score, rtol=1e-4, atol=1e-6)


def test_real_actions():
    traj, out, out_next, updated = data(real=True)
    rule = PPO(entropy_weight=0.1, value_weight=0.0, normalise=False)
    targets, value, metrics, grads = evaluate(rule, (), traj, out, out_next, updated)

    def log_density(o):
        mean, std = np.float64(o.policy.mean), np.exp(np.float64(o.policy.log_std))
        return (-(((np.asarray(traj.action) - mean) / std) ** 2) / 2 - np.log(std * np.sqrt(2 * np.pi))).sum(-1)

    ratio, advantage = np.exp(log_density(updated) - log_density(out)), np.float64(targets.advantage)
    surrogate = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage).mean()
    np.testing.assert_allclose(targets.old_log_prob, log_density(out), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(value, -surrogate - 0.1 * metrics["policy_entropy"], rtol=1e-4, atol=1e-5)
    assert (np.asarray(grads.policy.mean) != 0).any() and (np.asarray(grads.policy.log_std) != 0).all()
    with pytest.raises(ValueError, match="LPG: .* discrete actions"):
        jax.eval_shape(partial(LPG(prediction_size=1).targets, progress=PROGRESS), (), traj, out, out_next)


def test_the_loss_is_finite_for_a_policy_that_has_diverged():
    traj, out, out_next, _ = data()
    diverged = jax.tree.map(lambda x: 1e4 * jnp.sign(x), out)
    for rule in (NORMALISED, *SURROGATES):
        values = evaluate(rule, random_theta(rule), traj, out, out_next, diverged)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))


def test_advantages_are_normalised_over_the_batch_given_to_the_loss():
    traj, out, out_next, updated = data()
    targets, *_ = evaluate(NORMALISED, (), traj, out, out_next, updated)

    @jax.jit
    def loss(scale, shift):
        rescaled = PPOTargets(
            advantage=scale * targets.advantage + shift,
            value=targets.value,
            old_value=targets.old_value,
            old_log_prob=targets.old_log_prob,
        )
        return NORMALISED.loss((), updated, traj, rescaled, PROGRESS)[0]

    np.testing.assert_allclose(loss(3.0, -2.0), loss(1.0, 0.0), rtol=1e-5, atol=1e-6)


def test_ppo_loss_as_a_function_of_arrays():
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
    mask = rng.random(20) < 0.5
    masked = jax.jit(lopt.ppo_loss)(new, old, advantage, where=mask)
    np.testing.assert_allclose(masked, -clipped[mask].mean(), rtol=1e-5)


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
@pytest.mark.parametrize("drift", [Clip(), DPO(), TALPO(hidden=16, base_drift=Clip())], ids=["PPO", "DPO", "TA-LPO"])
@pytest.mark.parametrize("name", PROBES)
def test_it_solves_the_probe(name, drift):
    env, gamma, updates = PROBES[name], 0.5, 150
    rule = PPO(drift=drift, gamma=gamma, value_clip=None)
    net = partial(Tabular, env.num_states)
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(0.05))
    epochs = MinibatchEpochs(4, 2)
    lifetime = PPOLifetime(
        env=env,
        objective=rule,
        policy=net,
        prediction=net,
        optimizer=optimizer,
        num_envs=16,
        rollout_length=4,
        epochs=epochs,
        anneal=linear_annealing,
    )
    level = env(jax.random.key(0)).replace(num_updates=jnp.int32(updates))
    theta = rule.init(jax.random.key(2))

    @jax.jit
    def train(key):
        agent = train_learner(key, lifetime, theta, level, updates).agent
        index = jnp.arange(env.num_states)[None]
        return lifetime.agent.outputs(agent.params, TabularObs(index, jnp.zeros(index.shape)))

    out = train(jax.random.key(1))
    policy = naive.softmax(np.asarray(out.policy[0]))
    q, best = env.action_values(gamma, policy), env.action_values(gamma)
    np.testing.assert_allclose(out.prediction[0, :, 0], (policy * q).sum(-1), atol=0.05)
    np.testing.assert_allclose((policy * best).sum(-1), best.max(-1), atol=0.05)
