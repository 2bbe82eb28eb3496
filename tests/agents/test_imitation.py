"""LPG's targets regressed on those of a hand-made actor-critic."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import Imitation, ValueCode, demonstrations
from lopt.objectives import LPG, Fraction, ScheduledA2C
from tests.reference import pair
from tests.reference.lifetimes import B, T, rl_lifetime, table

KEY = jax.random.key(0)
TEACHER = ScheduledA2C()


@pytest.fixture(scope="module")
def data():
    lifetime = rl_lifetime(TEACHER, table(rate=2.0), baseline=None)
    theta = TEACHER.init(KEY)
    return jax.jit(lambda key: demonstrations(key, lifetime, theta, pair.levels(*[8] * 4), 8))(KEY)


def test_demonstrations_are_the_rollouts_of_every_update(data):
    assert data.traj.reward.shape == (32, T, B) and data.out.prediction.shape == (32, T, B, 1)
    np.testing.assert_array_equal(data.progress.step.reshape(4, 8), np.arange(8) + np.zeros((4, 1)))
    first, last = (np.abs(data.out.prediction.reshape(4, 8, -1)[:, i]).mean() for i in (0, 7))
    assert last > first  # the critic has learned


def test_the_code_of_a_value_can_be_read_back():
    code = ValueCode(weights=(2.0, -2.0), scale=0.5, bound=3.0)
    value = jnp.array([-100.0, 0.0, 1.0, 100.0])
    logits = np.asarray(code(value, 5))
    np.testing.assert_array_equal(logits[:, 2:], np.zeros((4, 3)))
    np.testing.assert_allclose(logits[:, 0] - logits[:, 1], 4 * 0.5 * np.asarray(code.bounded(value)), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(code.bounded(value))[[0, 3]], [-6, 6], rtol=1e-6)  # bound / scale
    np.testing.assert_allclose(code.bounded(jnp.float32(0.1)), 0.1, rtol=1e-3)


@pytest.mark.parametrize("rule", [LPG(hidden=16), LPG(hidden=16, normalise=True, conditioning=Fraction())])
def test_a_rule_learns_the_targets_of_a2c(rule, data):
    """The errors fall, and without noise the rule's weights of log pi are close to A2C's up to centring."""
    imitation = Imitation(num_steps=600, batch_size=8, noise=0.1)
    theta, losses = imitation(KEY, rule, TEACHER.init(KEY), data)
    again, _ = imitation(KEY, rule, TEACHER.init(KEY), data)
    chex.assert_trees_all_equal(theta, again)
    for name in ("pi_hat", "y_hat"):
        assert losses[name][-50:].mean() < 0.5 * losses[name][:20].mean(), name
    late = jax.tree.map(lambda x: x[7], data)
    wanted = TEACHER.targets(TEACHER.init(KEY), late.traj, late.out, late.out_next, late.progress)
    y, y_next = (
        out.replace(prediction=imitation.code(out.prediction[..., 0], rule.prediction_size))
        for out in (late.out, late.out_next)
    )
    got = rule.targets(theta, late.traj, y, y_next, late.progress)
    assert np.corrcoef(np.ravel(got.pi_hat), np.ravel(wanted.advantage))[0, 1] > 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ValueCode(weights=(0.0,)), "weights that are not all zero"),
        (lambda: ValueCode(bound=0.0), r"bound must be positive \(got 0.0\)"),
        (lambda: Imitation(num_steps=0), r"num_steps must be positive \(got 0\)"),
        (lambda: Imitation(smallest=3.0), "smallest must not exceed largest"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_prediction_that_is_too_narrow_for_the_code(data):
    with pytest.raises(ValueError, match=r"prediction_size .* \(got 1 and 2\)"):
        Imitation()(KEY, LPG(prediction_size=1), TEACHER.init(KEY), data)


def test_a_teacher_that_counts_visits_is_refused():
    with pytest.raises(ValueError, match="counts"):
        Imitation(teacher=ScheduledA2C(counts=True))
