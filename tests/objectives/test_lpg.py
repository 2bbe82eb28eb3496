"""The learned policy gradient compared with a NumPy forward pass, and the dependence of its targets on its inputs."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.grid.compat import RawTime
from lopt.nets import ReverseGRU, ReverseLSTM
from lopt.objectives import (
    LPG,
    Fraction,
    FractionAndLogNumUpdates,
    LPGRegulariser,
    LPGTargets,
    NoTime,
    RemainingFraction,
)
from lopt.types import Progress
from tests.reference import naive
from tests.reference.lifetimes import random_theta
from tests.reference.trajectories import output, trajectory
from tests.reference.ulps import assert_ulps

T, B, A, M = 6, 3, 3, 2
PROGRESS = Progress(step=jnp.int32(30), num_updates=jnp.int32(100))
SIZES = {"prediction_size": M, "hidden": 5, "embedding": 4}
RULES = {
    "gru": LPG(**SIZES),
    "lstm": LPG(**SIZES, recurrence=ReverseLSTM),
    "gru, no input gradient": LPG(**SIZES, input_gradient=False),
    "gru with time": LPG(**SIZES, conditioning=FractionAndLogNumUpdates()),
    "gru, normalised": LPG(**SIZES, normalise=True),
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


@pytest.mark.parametrize("name", ["gru", "lstm", "gru with time", "lstm with raw time", "gru, normalised"])
def test_targets_equal_a_numpy_forward_pass(name):
    rule, theta, _ = parts(name)
    theta = jax.tree.map(np.float64, theta)
    with jax.enable_x64(True):
        traj, out, out_next = data(np.float64)
        targets = jax.jit(rule.targets)(theta, traj, out, out_next, PROGRESS)
        time = np.asarray(rule.conditioning(PROGRESS))
    traj, out, out_next = jax.tree.map(np.asarray, (traj, out, out_next))
    assert traj.truncated.any() and (traj.discount == 0).any()
    pi_hat, y_hat = naive.lpg(theta, NAIVE[rule.recurrence], traj, out, out_next, time)
    # time features are computed in single precision
    # and the normalisation adds 1e-8 to the variance
    tolerance = {"rtol": 1e-9} if rule.conditioning == NoTime() else {"rtol": 1e-4, "atol": 1e-5}
    if rule.normalise:
        tolerance = {"rtol": 1e-5, "atol": 1e-7}
    np.testing.assert_allclose(targets.pi_hat, pi_hat, **tolerance)
    np.testing.assert_allclose(targets.y_hat, y_hat, **tolerance)


def test_normalised_targets_have_the_size_of_the_step_and_finite_derivatives_where_all_are_equal():
    rule = RULES["gru, normalised"]
    theta = jax.jit(rule.init)(jax.random.key(0))
    np.testing.assert_array_equal(theta["log_step"]["kernel"], np.zeros((5, 1)))
    theta = theta | {"log_step": theta["log_step"] | {"bias": jnp.array([0.5])}}
    traj, out, out_next = data()
    pi_hat = np.asarray(jax.jit(rule.targets)(theta, traj, out, out_next, PROGRESS).pi_hat)
    # the epsilon is 1e-8 of a variance that is larger than 1e-4
    np.testing.assert_allclose([pi_hat.mean(), pi_hat.std()], [0, np.exp(0.5)], rtol=1e-4, atol=1e-6)
    constant = theta | {"pi_hat": {"kernel": jnp.zeros((5, 1)), "bias": jnp.ones(1)}}
    loss = jax.jit(jax.grad(lambda t: (rule.targets(t, traj, out, out_next, PROGRESS).pi_hat * traj.reward).sum()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loss(constant)))


@pytest.mark.parametrize("recurrence", ["gru", "lstm"])
@pytest.mark.parametrize("conditioning", [FractionAndLogNumUpdates(), Fraction(), RemainingFraction(), RawTime()])
def test_zero_time_weights_give_lpg(recurrence, conditioning):
    rule, theta, targets = parts(recurrence)
    time_aware = replace(rule, conditioning=conditioning)
    # inputs: three per step, the time features, two embeddings
    rows = theta["recurrence"]["input"]
    rows = np.concatenate([rows[:3], np.zeros((conditioning.features, rows.shape[1]), np.float32), rows[3:]])
    zero_time_weights = theta | {"recurrence": theta["recurrence"] | {"input": rows}}
    traj, out, out_next = data()
    actual = jax.jit(time_aware.targets)(zero_time_weights, traj, out, out_next, PROGRESS)
    expected = targets(theta, traj, out, out_next, PROGRESS)
    # the order of the sums depends on the width of the input: T steps with sums of `terms` terms of size one
    terms = len(rows) + rule.hidden
    assert_ulps((actual.pi_hat, actual.y_hat), (expected.pi_hat, expected.y_hat), ulps=T * terms, scale=1.0)


@pytest.mark.parametrize("recurrence", ["gru", "lstm"])
def test_a_rule_may_start_with_zero_time_weights(recurrence):
    rule = replace(parts(recurrence)[0], conditioning=FractionAndLogNumUpdates(), time_init_scale=0.0)
    theta = rule.init(jax.random.key(0))
    traj, out, out_next = data()
    early, late = (rule.targets(theta, traj, out, out_next, replace(PROGRESS, step=jnp.int32(step))) for step in (0, 9))
    np.testing.assert_array_equal(early.pi_hat, late.pi_hat)
    gradient = jax.grad(lambda t: (rule.targets(t, traj, out, out_next, PROGRESS).pi_hat ** 2).sum())(theta)
    assert np.abs(np.asarray(gradient["recurrence"]["input"])[3:5]).max() > 0  # the weights are trained
    with pytest.raises(ValueError, match="time_init_scale must not be negative"):
        replace(rule, time_init_scale=-1.0)


def test_the_next_prediction_is_an_input_at_truncation_and_not_at_termination():
    _, theta, targets = parts("gru")
    traj, out, out_next = data()
    base = targets(theta, traj, out, out_next, PROGRESS)
    for mask, hidden in ((np.asarray(traj.discount == 0), True), (np.asarray(traj.truncated), False)):
        t, b = np.argwhere(mask)[0]
        changed = np.array(out_next.prediction)
        changed[t, b, 0] += 2
        after = targets(theta, traj, out, out_next.replace(prediction=jnp.asarray(changed)), PROGRESS)
        assert (after.pi_hat[t, b] == base.pi_hat[t, b]) == hidden
        assert (after.y_hat[t, b] == base.y_hat[t, b]).all() == hidden


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_targets_depend_on_later_steps_of_the_episode_only(name):
    _, theta, targets = parts(name)
    traj, out, out_next = data()
    base = targets(theta, traj, out, out_next, PROGRESS)
    last = np.asarray(traj.last)
    for s in range(T):
        reward = jnp.asarray(np.asarray(traj.reward) + 2 * np.eye(T, dtype=np.float32)[:, [s]])
        after = targets(theta, traj.replace(reward=reward), out, out_next, PROGRESS)
        changed = (np.asarray(after.y_hat) != np.asarray(base.y_hat)).any(-1)
        may_depend = np.array([[t <= s and not last[t:s, b].any() for b in range(B)] for t in range(T)])
        assert not changed[~may_depend].any()
        assert changed[s].all()
    assert last.any()


@jax.jit
def input_gradients(theta, traj, out, out_next):
    def total(floats, rule):
        targets = rule.targets(theta, traj, *floats, PROGRESS)
        return targets.pi_hat.sum() + (targets.y_hat**2).sum()

    return [jax.grad(total)((out, out_next), RULES[name]) for name in ("gru", "gru, no input gradient")]


def test_the_meta_gradient_flows_through_the_inputs_unless_stopped():
    _, theta, _ = parts("gru")
    traj, out, out_next = data()
    flowing, stopped = input_gradients(theta, traj, out, out_next)
    for grads in jax.tree.leaves(stopped):
        np.testing.assert_array_equal(grads, np.zeros(grads.shape))
    at_obs, at_next_obs = flowing
    assert (at_obs.policy != 0).all() and (at_obs.prediction != 0).any(-1).mean() > 0.8
    # of the outputs at next_obs, only the prediction is an input, and not where the episode terminated
    np.testing.assert_array_equal(at_next_obs.policy, np.zeros(at_next_obs.policy.shape))
    depends = (np.asarray(at_next_obs.prediction) != 0).any(-1)
    assert not depends[np.asarray(traj.discount == 0)].any() and depends.mean() > 0.5


@jax.jit
def loss_and_gradients(theta, out, traj, targets):
    """The loss and its gradients in the agent's output and in the targets."""

    def loss(out, targets):
        return RULES["gru"].loss(theta, out, traj, targets, PROGRESS)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(out, targets)


def test_constant_pi_hat_is_reinforce_and_the_prediction_loss_is_a_kl_divergence():
    rule, theta, _ = parts("gru")
    traj, out, _ = data()
    advantage, y_hat = -1.7, np.random.default_rng(5).normal(size=(T, B, M)).astype(np.float32)
    targets = LPGTargets(pi_hat=jnp.full((T, B), advantage), y_hat=jnp.array(y_hat))
    (loss, metrics), (grads, _) = loss_and_gradients(theta, out, traj, targets)
    p, y, q = (naive.softmax(np.float64(x)) for x in (out.policy, out.prediction, y_hat))
    one_hot = np.eye(A)[np.asarray(traj.action)]
    # REINFORCE descends - A log pi(a)
    np.testing.assert_allclose(grads.policy, -advantage * (one_hot - p) / (T * B), rtol=1e-4, atol=1e-7)
    kl = (y * np.log(y / q)).sum(-1)
    kl_gradient = y * (np.log(y / q) - kl[..., None])
    np.testing.assert_allclose(grads.prediction, rule.alpha_y * kl_gradient / (T * B), rtol=1e-4, atol=1e-7)
    expected = -(np.log((one_hot * p).sum(-1)) * advantage).mean() + rule.alpha_y * kl.mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["pi_hat_l2"], advantage**2, rtol=1e-6)
    np.testing.assert_allclose(metrics["y_hat_l2"], (q**2).sum(-1).mean(), rtol=1e-5)


def test_regulariser():
    """Against numpy, and its signs: entropies are rewarded, squares are penalised."""
    out, targets = (
        data()[1],
        LPGTargets(
            pi_hat=jnp.linspace(-1, 2, T * B).reshape(T, B),
            y_hat=jnp.array(np.random.default_rng(5).normal(size=(T, B, M)), jnp.float32),
        ),
    )
    p, y, q = (naive.softmax(np.float64(x)) for x in (out.policy, out.prediction, targets.y_hat))
    terms = [
        -(-(p * np.log(p)).sum(-1)).mean(),
        -(-(y * np.log(y)).sum(-1)).mean(),
        np.square(np.float64(targets.pi_hat)).mean(),
        (q**2).sum(-1).mean(),
    ]
    names = ("policy_entropy", "prediction_entropy", "pi_hat_l2", "y_hat_l2")
    weights = (1.0, 10.0, 100.0, 1000.0)
    np.testing.assert_allclose(
        LPGRegulariser(**dict(zip(names, weights, strict=True)))(out, targets), np.dot(weights, terms), rtol=1e-5
    )
    np.testing.assert_allclose(LPGRegulariser()(out, targets), np.dot((5e-2, 1e-3, 5e-3, 1e-3), terms), rtol=1e-5)


def test_number_of_inputs():
    for name, width in {"gru": 5, "lstm": 5, "gru with time": 7, "lstm with raw time": 7}.items():
        rule, theta, _ = parts(name)
        assert theta["recurrence"]["input"].shape[0] == width
        assert rule.prediction_size == M


@pytest.mark.parametrize("bad", [{"prediction_size": 0}, {"hidden": 0}, {"embedding": -1}, {"alpha_y": -0.1}])
def test_bad_values(bad):
    with pytest.raises(ValueError, match=f"LPG: {next(iter(bad))}"):
        LPG(**bad)
