"""Laws of every objective."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.nets import ReverseLSTM
from lopt.objectives import A2C, DPO, LPO, PPO, TALPO, Clip, FractionAndLogNumUpdates, ScheduledA2C
from lopt.protocols import Objective
from lopt.types import Progress
from tests.reference.lifetimes import lpg, random_theta
from tests.reference.trajectories import output, trajectory

T, B, A = 6, 4, 3
OBJECTIVES = {
    "LPG": lpg(),
    "LPG, LSTM": lpg(recurrence=ReverseLSTM),
    "LPG, time": lpg(conditioning=FractionAndLogNumUpdates()),
    "LPG, normalised": lpg(normalise=True),
    "LPG, inputs blocked": lpg(input_gradient=False),
    "A2C": A2C(),
    "A2C, scheduled": ScheduledA2C(),
    "PPO": PPO(entropy_weight=0.1, value_clip=None),
    "DPO": PPO(drift=DPO(), normalise=False),
    "LPO": PPO(drift=LPO(hidden=8), normalise=False),
    "TA-LPO": PPO(drift=TALPO(hidden=8, base_drift=Clip()), normalise=False),
}
for_objectives = pytest.mark.parametrize("name", OBJECTIVES)
# objectives whose weights do not depend on the other steps in the batch
for_pointwise = pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "PPO"])
PROGRESS = Progress(step=jnp.int32(2), num_updates=jnp.int32(10))
ORDER = np.array([2, 0, 3, 1])


def half(tree, index):
    return jax.tree.map(lambda x: x[index * T // 2 : (index + 1) * T // 2], tree)


def sharpened(out):
    """The output of an agent whose policy has lower entropy."""
    return jax.tree.map(lambda x: 1.5 * x, out)


def permuted(tree):
    return jax.tree.map(lambda x: x[:, ORDER], tree)


@functools.cache
def evaluation(name):
    """All methods and derivatives of an objective that the laws need, compiled once."""
    rule = OBJECTIVES[name]

    @jax.jit
    def evaluate(theta, traj, out, out_next):
        def after_update(theta):
            """A function of an update's gradient after earlier updates on the same trajectory; it depends on theta
            through the targets or the loss."""
            targets = rule.targets(theta, traj, out, out_next, PROGRESS)
            grads = jax.grad(lambda o: rule.loss(theta, o, traj, targets, PROGRESS)[0])(sharpened(out))
            return jnp.sin(3 * grads.policy).sum() + jnp.cos(grads.prediction).sum()

        targets = rule.targets(theta, traj, out, out_next, PROGRESS)
        loss = functools.partial(rule.loss, theta, progress=PROGRESS)
        (whole, metrics), grads = jax.value_and_grad(loss, has_aux=True)(out, traj=traj, targets=targets)
        return {
            "targets": targets,
            "permuted targets": rule.targets(theta, *permuted((traj, out, out_next)), PROGRESS),
            "loss": (whole, metrics),
            "permuted loss": loss(permuted(out), traj=permuted(traj), targets=permuted(targets)),
            "halves": [loss(half(out, i), traj=half(traj, i), targets=half(targets, i)) for i in range(2)],
            "gradient": grads,
            "meta-gradient": jax.grad(after_update)(theta),
        }

    return evaluate


@functools.cache
def evaluated(name, scale=1.0):
    rule = OBJECTIVES[name]
    theta = random_theta(rule)
    sizes = {"T": T, "B": B, "num_actions": A}
    outs = [output(seed, **sizes, width=rule.prediction_size) for seed in (1, 2)]
    if scale != 1:
        outs = jax.tree.map(lambda x: scale * jnp.sign(x), outs)
    return evaluation(name)(theta, trajectory(0, **sizes), *outs)


@for_objectives
def test_objective_has_the_methods_and_hashes(name):
    rule = OBJECTIVES[name]
    assert isinstance(rule, Objective)
    assert isinstance(hash(rule), int)
    assert rule == rule.__class__(**vars(rule))


@for_objectives
def test_targets_have_an_entry_for_every_step(name):
    for leaf in jax.tree.leaves(evaluated(name)["targets"]):
        assert leaf.shape[:2] == (T, B) and leaf.dtype == jnp.float32


@for_pointwise
def test_loss_is_pointwise_and_then_a_mean(name):
    whole, halves = evaluated(name)["loss"], evaluated(name)["halves"]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    chex.assert_trees_all_close(whole, mean, rtol=1e-5, atol=1e-6)
    assert abs(halves[0][0] - halves[1][0]) > 1e-3
    assert all(jnp.shape(x) == () for x in jax.tree.leaves(whole))


@for_objectives
def test_the_order_of_the_batch_does_not_matter(name):
    values = evaluated(name)
    chex.assert_trees_all_close(values["permuted targets"], permuted(values["targets"]), rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(values["permuted loss"], values["loss"], rtol=1e-5, atol=1e-6)


@for_objectives
def test_gradients_are_finite_at_extreme_logits(name):
    values = evaluated(name, scale=1e4)
    for leaf in jax.tree.leaves(values):
        assert np.isfinite(leaf).all()


@for_objectives
def test_policy_and_prediction_have_nonzero_gradients(name):
    grads = evaluated(name)["gradient"]
    assert (np.abs(grads.policy).sum(-1) > 0).all() and (np.abs(grads.prediction).sum(-1) > 0).all()
    # a softmax is invariant to a common shift of its logits
    np.testing.assert_allclose(grads.policy.sum(-1), np.zeros((T, B)), atol=1e-6)


@for_objectives
def test_the_meta_gradient_is_nonzero_unless_theta_is_empty(name):
    grads = evaluated(name)["meta-gradient"]
    if OBJECTIVES[name].init(jax.random.key(0)) == ():
        assert grads == ()
    else:
        for path, leaf in jax.tree.leaves_with_path(grads):
            assert np.isfinite(leaf).all() and (np.asarray(leaf) != 0).any(), path
