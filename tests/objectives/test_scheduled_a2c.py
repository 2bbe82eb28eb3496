"""A2C with schedules: closed form of the schedules, targets against numpy, and A2C as the special case."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import policies
from lopt.objectives import A2C, ScheduledA2C
from lopt.objectives.a2c import COUNT_SCALES, SCALES
from lopt.types import Progress
from tests.reference import naive
from tests.reference.trajectories import output, trajectory

T, B, A = 6, 4, 3


def data(width=1):
    sizes = {"T": T, "B": B, "num_actions": A}
    return trajectory(4, **sizes), output(1, **sizes, width=width), output(2, **sizes, width=width)


def progress(step, num_updates=10):
    return Progress(step=jnp.int32(step), num_updates=jnp.int32(num_updates))


def test_a_schedule_is_linear_between_its_knots():
    rule = ScheduledA2C(knots=3)
    theta = rule.init(jax.random.key(0)) | {"log_step": jnp.array([1.0, 3.0, -1.0])}
    for fraction, expected in ((0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.75, 1.0), (1.0, -1.0)):
        values = rule.schedule(theta, jnp.float32(fraction))
        np.testing.assert_allclose(values["log_step"], expected, rtol=1e-6)
        assert values["step_cost"] == 0


def test_with_one_knot_all_are_constants():
    rule = ScheduledA2C(knots=1)
    theta = rule.init(jax.random.key(0)) | {"log_step": jnp.array([0.7])}
    for fraction in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(rule.schedule(theta, jnp.float32(fraction))["log_step"], 0.7, rtol=1e-6)


def test_at_zero_it_is_a2c_with_a_sampled_entropy_gradient():
    traj, out, out_next = data()
    rule, a2c = ScheduledA2C(entropy_weight=0.3), A2C(entropy_weight=0.3)
    theta, now = rule.init(jax.random.key(0)), progress(3)

    @jax.jit
    def gradients(out):
        def gradient(rule, theta, traj):
            targets = rule.targets(theta, traj, out, out_next, now)
            return jax.grad(lambda o: rule.loss(theta, o, traj, targets, now)[0])(out)

        without = gradient(A2C(entropy_weight=0.0), (), traj)
        expected = jax.grad(lambda o: -0.3 * policies.entropy(o.policy).mean())(out).policy
        # the mean over actions, weighted by their probabilities, of the term that theta = 0 adds to A2C without entropy
        each = [
            gradient(rule, theta, traj.replace(action=jnp.full_like(traj.action, a))).policy
            - gradient(A2C(entropy_weight=0.0), (), traj.replace(action=jnp.full_like(traj.action, a))).policy
            for a in range(A)
        ]
        probability = jax.nn.softmax(out.policy)
        mean = sum(probability[..., a, None] * each[a] for a in range(A))
        return mean, expected, gradient(rule, theta, traj).prediction, without.prediction

    mean, expected, prediction, prediction_a2c = gradients(out)
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(prediction, prediction_a2c, rtol=1e-5, atol=1e-7)
    assert a2c.prediction_size == rule.prediction_size


@pytest.mark.parametrize("normalise", [True, False])
def test_targets_against_numpy(normalise):
    traj, out, out_next = data()
    rule = ScheduledA2C(knots=2, normalise=normalise)
    rng = np.random.default_rng(0)
    theta = {name: jnp.asarray(rng.normal(size=2), jnp.float32) for name in SCALES}
    targets = jax.jit(rule.targets)(theta, traj, out, out_next, progress(3))
    at = {name: SCALES[name] * (0.7 * np.float64(x[0]) + 0.3 * np.float64(x[1])) for name, x in theta.items()}
    gamma = 1 / (1 + np.exp(-(np.log(0.99 / 0.01) + at["gamma_logit"])))
    lam = 1 / (1 + np.exp(-(np.log(0.95 / 0.05) + at["lam_logit"])))
    discount = np.asarray(traj.discount)
    reward = np.float64(traj.reward) - at["step_cost"] - at["termination_cost"] * (discount == 0)
    value, value_next = (np.float64(o.prediction[..., 0]) for o in (out, out_next))
    advantage = naive.gae(reward, discount, np.asarray(traj.truncated), value, value_next, gamma, lam)
    np.testing.assert_allclose(targets.value, advantage + value, rtol=1e-4, atol=1e-4)
    if normalise:
        advantage = (advantage - advantage.mean()) / advantage.std()
    weight = np.exp(at["log_step"]) * np.where(advantage > 0, advantage, np.exp(at["log_negative"]) * advantage)
    log_p = naive.log_softmax(np.float64(out.policy))
    chosen = np.take_along_axis(log_p, np.asarray(traj.action)[..., None], -1)[..., 0]
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    expected = weight - (0.01 + at["entropy_weight"]) * (chosen + entropy)
    np.testing.assert_allclose(targets.advantage, expected, rtol=1e-3, atol=1e-3)


def test_the_baseline_of_the_entropys_term_is_a_function_of_the_state_or_of_the_rollout():
    traj, out, out_next = data()
    of_state, of_rollout = (ScheduledA2C(entropy_weight=0.3, state_entropy=on) for on in (True, False))
    theta, entropy = of_state.init(jax.random.key(0)), np.asarray(policies.entropy(out.policy))
    first, second = (rule.targets(theta, traj, out, out_next, progress(3)) for rule in (of_state, of_rollout))
    np.testing.assert_allclose(
        second.advantage - first.advantage, 0.3 * (entropy - entropy.mean()), rtol=1e-4, atol=1e-6
    )
    assert entropy.std() > 1e-2
    np.testing.assert_allclose(second.value, first.value, rtol=1e-6)


def test_the_count_of_visits_against_numpy():
    traj, out, out_next = data(width=2)
    rule, plain = ScheduledA2C(knots=1, counts=True), ScheduledA2C(knots=1)
    theta = rule.init(jax.random.key(0)) | {
        "bonus": jnp.array([0.4]),
        "log_count_step": jnp.array([0.3]),
        "log_value_novelty": jnp.array([0.7]),
    }
    novelty, novelty_next = (np.clip(1 - np.float64(o.prediction[..., 1]), 0, 1) for o in (out, out_next))
    assert ((novelty > 0) & (novelty < 1)).any() and (traj.discount == 0).any()
    shared = {name: value for name, value in theta.items() if name in SCALES}
    bonus = 0.05 * 0.4 * novelty_next * (np.asarray(traj.discount) != 0)
    expected = plain.targets(shared, traj.replace(reward=traj.reward + jnp.float32(bonus)), out, out_next, progress(3))
    targets = rule.targets(theta, traj, out, out_next, progress(3))
    np.testing.assert_allclose(targets.value, expected.value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(targets.advantage, expected.advantage, rtol=1e-4, atol=1e-5)

    grads = jax.grad(lambda o: rule.loss(theta, o, traj, targets, progress(3))[0])(out).prediction
    value, count = np.moveaxis(np.float64(out.prediction), -1, 0)
    of_value = 2 * (1 + (np.exp(2.0 * 0.7) - 1) * novelty) * (value - np.float64(targets.value)) / (T * B)
    of_count = 2 * np.exp(0.3) * (count - 1) / (T * B)
    np.testing.assert_allclose(grads, np.stack([of_value, of_count], -1), rtol=1e-4, atol=1e-6)


def test_at_zero_the_count_changes_nothing_else():
    traj, out, out_next = data(width=2)
    rule, plain = ScheduledA2C(counts=True), ScheduledA2C()
    theta = rule.init(jax.random.key(0))
    targets = rule.targets(theta, traj, out, out_next, progress(3))
    expected = plain.targets(plain.init(jax.random.key(0)), traj, out, out_next, progress(3))
    np.testing.assert_allclose(targets.advantage, expected.advantage, rtol=1e-6)
    np.testing.assert_allclose(targets.value, expected.value, rtol=1e-6)
    assert rule.prediction_size == 2 and set(theta) - set(SCALES) == set(COUNT_SCALES)


@pytest.mark.parametrize("options", [{"knots": 0}, {"gamma": 1.0}, {"lam": 0.0}, {"gamma": float("nan")}])
def test_bad_constants_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ScheduledA2C(**options)
