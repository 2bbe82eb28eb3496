"""The learned policy gradient against a plain NumPy forward pass, and what depends on what."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.nets import ReverseGRU, ReverseLSTM
from lopt.objectives import (
    LPG,
    Fraction,
    FractionAndLogLifetime,
    LPGPenalty,
    LPGTargets,
    NoTime,
    RawTime,
    RemainingFraction,
)
from lopt.types import Progress
from tests.reference import naive
from tests.reference.lives import random_theta
from tests.reference.trajectories import output, trajectory
from tests.reference.ulps import assert_ulps

T, B, A, M = 6, 3, 3, 2
PROGRESS = Progress(step=jnp.int32(30), lifetime=jnp.int32(100))
SIZES = {"prediction_size": M, "hidden": 5, "embedding": 4}
RULES = {
    "gru": LPG(**SIZES),
    "lstm": LPG(**SIZES, recurrence=ReverseLSTM),
    "gru, inputs blocked": LPG(**SIZES, input_gradient=False),
    "gru with time": LPG(**SIZES, conditioning=FractionAndLogLifetime()),
    "lstm with raw time": LPG(**SIZES, recurrence=ReverseLSTM, conditioning=RawTime()),
}
NAIVE = {ReverseGRU: naive.reverse_gru, ReverseLSTM: naive.reverse_lstm}


@cache
def parts(name):
    """`(rule, theta, jitted targets)`."""
    rule = RULES[name]
    return rule, random_theta(rule), jax.jit(rule.targets)


def data(dtype=np.float32):
    sizes = {"T": T, "B": B, "num_actions": A, "dtype": dtype}
    return trajectory(3, **sizes), output(1, **sizes, width=M), output(2, **sizes, width=M)


@pytest.mark.parametrize("name", ["gru", "lstm", "gru with time", "lstm with raw time"])
def test_targets_equal_a_plain_forward_pass(name):
    rule, theta, _ = parts(name)
    theta = jax.tree.map(np.float64, theta)
    with jax.enable_x64(True):
        traj, out, out_next = data(np.float64)
        found = jax.jit(rule.targets)(theta, traj, out, out_next, PROGRESS)
        time = np.asarray(rule.conditioning(PROGRESS))
    traj, out, out_next = jax.tree.map(np.asarray, (traj, out, out_next))
    assert traj.truncated.any() and (traj.discount == 0).any()
    pi_hat, y_hat = naive.lpg(theta, NAIVE[rule.recurrence], traj, out, out_next, time)
    # time features are computed in single precision
    tolerance = {"rtol": 1e-9} if rule.conditioning == NoTime() else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(found.pi_hat, pi_hat, **tolerance)
    np.testing.assert_allclose(found.y_hat, y_hat, **tolerance)


@pytest.mark.parametrize("recurrence", ["gru", "lstm"])
@pytest.mark.parametrize("conditioning", [FractionAndLogLifetime(), Fraction(), RemainingFraction(), RawTime()])
def test_a_rule_that_gives_time_no_weight_is_lpg(recurrence, conditioning):
    plain, theta, targets = parts(recurrence)
    timed = replace(plain, conditioning=conditioning)
    # columns of the input: three plain ones, time, two embeddings
    rows = theta["recurrence"]["input"]
    rows = np.concatenate([rows[:3], np.zeros((conditioning.features, rows.shape[1]), np.float32), rows[3:]])
    deaf = theta | {"recurrence": theta["recurrence"] | {"input": rows}}
    traj, out, out_next = data()
    found = jax.jit(timed.targets)(deaf, traj, out, out_next, PROGRESS)
    expected = targets(theta, traj, out, out_next, PROGRESS)
    # another width of the input, another order of the sums: T steps of as many terms of size one
    terms = len(rows) + plain.hidden
    assert_ulps((found.pi_hat, found.y_hat), (expected.pi_hat, expected.y_hat), ulps=T * terms, scale=1.0)


@pytest.mark.parametrize("recurrence", ["gru", "lstm"])
def test_a_rule_may_start_deaf_to_time(recurrence):
    rule = replace(parts(recurrence)[0], conditioning=FractionAndLogLifetime(), time_scale=0.0)
    theta = rule.init(jax.random.key(0))
    traj, out, out_next = data()
    early, late = (rule.targets(theta, traj, out, out_next, replace(PROGRESS, step=jnp.int32(step))) for step in (0, 9))
    np.testing.assert_array_equal(early.pi_hat, late.pi_hat)
    gradient = jax.grad(lambda t: (rule.targets(t, traj, out, out_next, PROGRESS).pi_hat ** 2).sum())(theta)
    assert np.abs(np.asarray(gradient["recurrence"]["input"])[3:5]).max() > 0  # and may learn to hear
    with pytest.raises(ValueError, match="time_scale must not be negative"):
        replace(rule, time_scale=-1.0)


def test_the_next_prediction_is_hidden_at_termination_and_seen_at_truncation():
    _, theta, targets = parts("gru")
    traj, out, out_next = data()
    base = targets(theta, traj, out, out_next, PROGRESS)
    for at, hidden in ((np.asarray(traj.discount == 0), True), (np.asarray(traj.truncated), False)):
        t, b = np.argwhere(at)[0]
        moved = np.array(out_next.prediction)
        moved[t, b, 0] += 2
        after = targets(theta, traj, out, out_next.replace(prediction=jnp.asarray(moved)), PROGRESS)
        assert (after.pi_hat[t, b] == base.pi_hat[t, b]) == hidden
        assert (after.y_hat[t, b] == base.y_hat[t, b]).all() == hidden


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_targets_look_forward_within_an_episode_only(name):
    _, theta, targets = parts(name)
    traj, out, out_next = data()
    base = targets(theta, traj, out, out_next, PROGRESS)
    last = np.asarray(traj.last)
    for s in range(T):
        reward = jnp.asarray(np.asarray(traj.reward) + 2 * np.eye(T, dtype=np.float32)[:, [s]])
        after = targets(theta, traj.replace(reward=reward), out, out_next, PROGRESS)
        moved = (np.asarray(after.y_hat) != np.asarray(base.y_hat)).any(-1)
        reaches = np.array([[t <= s and not last[t:s, b].any() for b in range(B)] for t in range(T)])
        assert not moved[~reaches].any()
        assert moved[s].all()
    assert last.any()


@jax.jit
def input_gradients(theta, traj, out, out_next):
    def total(floats, rule):
        targets = rule.targets(theta, traj, *floats, PROGRESS)
        return targets.pi_hat.sum() + (targets.y_hat**2).sum()

    return [jax.grad(total)((out, out_next), RULES[name]) for name in ("gru", "gru, inputs blocked")]


def test_the_meta_gradient_flows_through_the_inputs_unless_blocked():
    _, theta, _ = parts("gru")
    traj, out, out_next = data()
    flowing, blocked = input_gradients(theta, traj, out, out_next)
    for grads in jax.tree.leaves(blocked):
        np.testing.assert_array_equal(grads, np.zeros(grads.shape))
    now, after = flowing
    assert (now.policy != 0).all() and (now.prediction != 0).any(-1).mean() > 0.8
    # of what follows a step, only the prediction is an input, and not where nothing follows
    np.testing.assert_array_equal(after.policy, np.zeros(after.policy.shape))
    seen = (np.asarray(after.prediction) != 0).any(-1)
    assert not seen[np.asarray(traj.discount == 0)].any() and seen.mean() > 0.5


@jax.jit
def loss_and_gradients(theta, out, traj, targets):
    """With respect to the agent's output and the targets."""

    def loss(out, targets):
        return RULES["gru"].loss(theta, out, traj, targets, PROGRESS)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(out, targets)


def test_constant_pi_hat_is_reinforce_and_the_prediction_moves_towards_y_hat():
    rule, theta, _ = parts("gru")
    traj, out, _ = data()
    advantage, y_hat = -1.7, np.random.default_rng(5).normal(size=(T, B, M)).astype(np.float32)
    targets = LPGTargets(pi_hat=jnp.full((T, B), advantage), y_hat=jnp.array(y_hat))
    (loss, told), (grads, _) = loss_and_gradients(theta, out, traj, targets)
    p, y, q = (naive.softmax(np.float64(x)) for x in (out.policy, out.prediction, y_hat))
    chosen = np.eye(A)[np.asarray(traj.action)]
    # REINFORCE descends - A log pi(a)
    np.testing.assert_allclose(grads.policy, -advantage * (chosen - p) / (T * B), rtol=1e-4, atol=1e-7)
    kl = (y * np.log(y / q)).sum(-1)
    pull = y * (np.log(y / q) - kl[..., None])
    np.testing.assert_allclose(grads.prediction, rule.alpha_y * pull / (T * B), rtol=1e-4, atol=1e-7)
    expected = -(np.log((chosen * p).sum(-1)) * advantage).mean() + rule.alpha_y * kl.mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(told["pi_hat_l2"], advantage**2, rtol=1e-6)
    np.testing.assert_allclose(told["y_hat_l2"], (q**2).sum(-1).mean(), rtol=1e-5)


def test_penalty():
    steps = {"policy_entropy": [1.0, 3.0], "prediction_entropy": [0.5, 0.7], "pi_hat_l2": [4.0, 0.0]}
    steps = {name: jnp.array(values) for name, values in steps.items()} | {"y_hat_l2": jnp.array([0.2, 0.4])}
    both, first = jnp.array([True, True]), jnp.array([True, False])
    assert LPGPenalty(1.0, 10.0, 100.0, 1000.0)(steps, both) == pytest.approx(-2.0 - 6.0 + 200.0 + 300.0)
    assert LPGPenalty()(steps, both) == pytest.approx(-0.05 * 2 - 1e-3 * 0.6 + 5e-3 * 2 + 1e-3 * 0.3)
    # an update after the end of the lifetime costs nothing, whatever was measured in it, and has no gradient
    penalty = LPGPenalty(1.0, 10.0, 100.0, 1000.0)
    assert penalty(steps, first) == pytest.approx(-1.0 - 5.0 + 400.0 + 200.0)
    slopes = jax.grad(lambda steps: penalty(steps, first))(steps)
    assert all(slope[1] == 0 and slope[0] != 0 for slope in slopes.values())


def test_width_of_the_input():
    for name, width in {"gru": 5, "lstm": 5, "gru with time": 7, "lstm with raw time": 7}.items():
        rule, theta, _ = parts(name)
        assert theta["recurrence"]["input"].shape[0] == width
        assert rule.prediction_size == M


@pytest.mark.parametrize("bad", [{"prediction_size": 0}, {"hidden": 0}, {"embedding": -1}, {"alpha_y": -0.1}])
def test_bad_values(bad):
    with pytest.raises(ValueError, match=f"LPG: {next(iter(bad))}"):
        LPG(**bad)
