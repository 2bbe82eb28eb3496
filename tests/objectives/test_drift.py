"""Drifts: validity for all weights, closed forms, and PPO as the special case of zero weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from lopt.objectives import DPO, LPO, TALPO, Clip, Drift, Fraction, FractionAndLogNumUpdates, bind_drift, ppo_loss
from lopt.objectives.drift import features
from lopt.search import ProgramDrift, parse
from lopt.types import Progress
from tests.reference import naive
from tests.reference.lifetimes import random_theta
from tests.reference.ulps import assert_ulps

LIFETIME = 10
DRIFTS = {
    "clip": Clip(),
    "DPO": DPO(),
    "LPO": LPO(hidden=16),
    "LPO, base PPO": LPO(hidden=16, base_drift=Clip()),
    "TA-LPO": TALPO(hidden=16),
    "TA-LPO, base DPO": TALPO(hidden=16, base_drift=DPO()),
    "LPO, two time features": LPO(hidden=16, conditioning=FractionAndLogNumUpdates()),
}
for_drifts = pytest.mark.parametrize("name", DRIFTS)
RATIOS = np.concatenate([np.exp(np.linspace(-4, 4, 40)), 1 + np.linspace(-0.02, 0.02, 21)]).astype(np.float32)
ADVANTAGES = np.concatenate([np.linspace(-5, 5, 20), [-1e-3, 0.0, 1e-3, 40.0, -40.0]]).astype(np.float32)
R, A = map(np.ravel, np.meshgrid(RATIOS, ADVANTAGES))
SUMMED = 8 + 16  # terms of the sums in a network of 16 hidden units


def progress(step):
    return Progress(step=jnp.int32(step), num_updates=jnp.int32(LIFETIME))


@functools.cache
def compiled(name):
    """f and df/dr `[steps, entries]`, at every n / N."""
    drift = DRIFTS[name]

    @jax.jit
    def evaluate(theta, ratio, advantage):
        def at(step):
            def f(ratio):
                return drift(theta, jnp.log(ratio), advantage, progress(step))

            value, vjp = jax.vjp(f, ratio)
            return value, vjp(jnp.ones_like(value))[0]

        return jax.vmap(at)(jnp.arange(LIFETIME + 1))

    return evaluate


@for_drifts
def test_a_drift_satisfies_the_protocol_and_is_hashable(name):
    assert isinstance(DRIFTS[name], Drift)
    assert isinstance(hash(DRIFTS[name]), int)
    assert DRIFTS[name] == DRIFTS[name].__class__(**vars(DRIFTS[name]))


@for_drifts
def test_a_drift_is_valid_for_all_weights_and_at_all_times(name):
    positive = 0
    for seed in range(10):
        theta = jax.tree.map(lambda x, s=seed: x * (1 + s), random_theta(DRIFTS[name], seed))
        value, slope = compiled(name)(theta, R, A)
        assert value.shape == slope.shape == (LIFETIME + 1, *R.shape)
        assert np.isfinite(value).all() and np.isfinite(slope).all()
        assert (np.asarray(value) >= 0).all()
        for exact in (value, slope):
            np.testing.assert_array_equal(np.asarray(exact)[:, R == 1], 0)
        positive += (np.asarray(value) > 0).mean()
    # the drifts are not identically zero
    assert positive > 1


@pytest.mark.parametrize("name", ["LPO", "TA-LPO, base DPO"])
def test_a_network_drift_is_zero_in_a_neighbourhood_of_one(name):
    """The derivative at r = 1 alone would not exclude a kink there."""
    theta = random_theta(DRIFTS[name])
    width = 1e-6
    ratio = np.array([1 - width, 1 + width], np.float32).repeat(len(ADVANTAGES))
    value, slope = compiled(name)(theta, ratio, np.tile(ADVANTAGES, 2))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(slope, 0)


@for_drifts
def test_a_drift_acts_entry_by_entry(name):
    """Arguments of shapes (B, 1) and (B,) raise, and are not broadcast to (B, B)."""
    theta, drift = random_theta(DRIFTS[name]), DRIFTS[name]
    for shape in ((5,), (1, 5), ()):
        zeros = jnp.zeros(shape)
        assert jax.eval_shape(lambda z: drift(theta, z, z, progress(3)), zeros).shape == shape
    with pytest.raises(TypeCheckError):
        drift(theta, jnp.zeros((5, 1)), jnp.zeros(5), progress(3))
    value, slope = compiled(name)(theta, R, A)
    reversed_value, _ = compiled(name)(theta, R[::-1], A[::-1])
    np.testing.assert_allclose(reversed_value, np.asarray(value)[:, ::-1], rtol=1e-5, atol=1e-5)


DPO_VECTORS = """
1.0  1  0         1         1
1.5  1  0.010163  1.489837  0.940015
2.0  1  0.075766  1.924234  0.786448
1.2  3  0.017375  3.582625  2.745411
0.5  1  0         0.5       1
0.8 -1  0.009749 -0.809749 -0.841885
0.5 -1  0.201457 -0.701457  0.343109
0.9 -2  0.008257 -1.808257 -1.746964
1.5 -1  0        -1.5      -1
"""


def test_closed_form_of_dpo():
    r, advantage, f, objective, slope = np.array(DPO_VECTORS.split(), np.float32).reshape(-1, 5).T
    value, df = (np.asarray(x)[0] for x in compiled("DPO")((), r, advantage))
    np.testing.assert_allclose(value, f, atol=1e-6)
    np.testing.assert_allclose(r * advantage - value, objective, atol=1e-6)
    np.testing.assert_allclose(advantage - df, slope, atol=2e-6)


@pytest.mark.parametrize(("advantage", "threshold"), [(-0.5, 0.40534), (-1, 0.55938), (-2, 0.69689), (-3, 0.76354)])
def test_rollback_threshold_of_dpo(advantage, threshold):
    r = np.linspace(threshold - 0.3, 1, 2001, dtype=np.float32)
    df = np.asarray(compiled("DPO")((), r, np.full_like(r, advantage))[1])[0]
    rolls_back = advantage - df > 0
    np.testing.assert_allclose(r[rolls_back].max(), threshold, atol=4e-4)


def test_closed_form_of_clip():
    value, slope = compiled("clip")((), R, A)
    beyond = (R - np.clip(R, 0.8, 1.2)) * A
    np.testing.assert_allclose(value[0], np.maximum(beyond, 0), rtol=1e-4, atol=1e-5)
    # r A - f is the clipped surrogate, also in its derivative
    surrogate = np.minimum(R * A, np.clip(R, 0.8, 1.2) * A)
    np.testing.assert_allclose(R * A - value[0], surrogate, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(slope[0], np.where(beyond > 0, A, 0), rtol=1e-5, atol=1e-5)
    examples = compiled("clip")((), *np.array([[1.5, 0.5, 0.5, 1.5], [1, -1, 1, -1]], np.float32))[0][0]
    np.testing.assert_allclose(examples, [0.3, 0.3, 0, 0], atol=1e-6)


def test_zero_weights_give_ppo():
    drift = DRIFTS["LPO, base PPO"]
    zeros = jax.tree.map(np.zeros_like, random_theta(drift))
    value, slope = compiled("LPO, base PPO")(zeros, R, A)
    clip, clip_slope = compiled("clip")((), R, A)
    np.testing.assert_allclose(value, np.maximum(np.asarray(clip) - drift.xi, 0), atol=1e-6)
    above_xi = np.asarray(clip) > drift.xi
    np.testing.assert_allclose(np.asarray(slope)[above_xi], np.asarray(clip_slope)[above_xi], rtol=1e-5)
    np.testing.assert_array_equal(compiled("LPO")(zeros, R, A)[0], 0)


@pytest.mark.parametrize("name", ["LPO", "LPO, base PPO", "TA-LPO", "LPO, two time features"])
def test_the_network_equals_numpy(name):
    drift, theta = DRIFTS[name], random_theta(DRIFTS[name], dtype=np.float32)
    base = np.maximum((R - np.clip(R, 0.8, 1.2)) * A, 0) if drift.base_drift else 0
    value, _ = compiled(name)(theta, R, A)
    # for large |log r| the features are in the thousands, and the rounding of float32 is too large
    near = np.abs(np.log(R)) < 1.5
    for step in (0, 3, LIFETIME):
        time = np.asarray(drift.conditioning(progress(step)))
        expected = np.maximum(base + naive.lpo(theta, np.float64(R), np.float64(A), time) - drift.xi, 0)
        np.testing.assert_allclose(value[step][near], expected[near], rtol=1e-3, atol=1e-3)


def terms(theta):
    """The size of the terms that f sums at (R, A), which bounds its rounding error."""
    x = np.abs(np.asarray(features(jnp.log(R), jnp.asarray(A)), np.float64))
    hidden, out = np.float64(theta["hidden"]), np.abs(np.float64(theta["out"]))
    tanh = np.tanh(np.asarray(features(jnp.log(R), jnp.asarray(A)), np.float64) @ hidden)
    return ((1 - tanh**2) * (x @ np.abs(hidden)) + np.abs(tanh)) @ out


def test_zero_time_weights_make_ta_lpo_equal_lpo():
    theta = random_theta(DRIFTS["LPO"])
    time_aware = {"hidden": np.concatenate([theta["hidden"], np.zeros_like(theta["hidden"])]), "out": theta["out"]}

    @jax.jit
    def drift_at(theta, step):
        return DRIFTS["TA-LPO"](theta, jnp.log(R), jnp.asarray(A), progress(step))

    without_time = jax.jit(lambda theta: DRIFTS["LPO"](theta, jnp.log(R), jnp.asarray(A), progress(0)))(theta)
    for step in (0, 4, LIFETIME):
        assert_ulps(drift_at(time_aware, step), without_time, SUMMED, terms(theta))
    time_aware["hidden"][8:] = 1
    values = [np.asarray(drift_at(time_aware, step)) for step in range(LIFETIME + 1)]
    assert_ulps(values[0], np.asarray(without_time), SUMMED, terms(theta))
    assert all(np.abs(a - b).max() > 1e-2 for a, b in zip(values, values[1:], strict=False))


def test_antithetic_weights_give_the_same_drift_and_init_is_not_zero():
    drift = DRIFTS["LPO"]
    theta = random_theta(drift)
    value, _ = compiled("LPO")(theta, R, A)
    assert_ulps(compiled("LPO")(jax.tree.map(np.negative, theta), R, A)[0], value, SUMMED, terms(theta))
    initial = jax.jit(LPO(hidden=4000).init)(jax.random.key(0))
    np.testing.assert_allclose([initial["hidden"].std(), initial["out"].std()], [8**-0.5, 0.1 * 4000**-0.5], rtol=0.05)
    shapes = jax.eval_shape(DRIFTS["TA-LPO"].init, jax.random.key(0))
    assert {name: x.shape for name, x in shapes.items()} == {"hidden": (16, 16), "out": (16,)}


def test_bind_drift_with_and_without_progress():
    drift, theta = DRIFTS["TA-LPO"], random_theta(DRIFTS["TA-LPO"])
    expected = compiled("TA-LPO")(theta, R, A)[0]
    for bound, extra in ((bind_drift(drift, theta, progress(7)), ()), (bind_drift(drift, theta), (progress(7),))):
        actual = jax.jit(bound)(jnp.log(R), jnp.asarray(A), *extra)
        np.testing.assert_allclose(actual, expected[7], rtol=1e-4, atol=1e-4)


@for_drifts
def test_a_time_aware_drift_requires_the_progress(name):
    theta = random_theta(DRIFTS[name])
    values = compiled(name)(theta, R, A)[0]
    drift, time_aware = bind_drift(DRIFTS[name], theta), bool(np.ptp(values, axis=0).max() > 0)
    assert DRIFTS[name].time_aware == time_aware
    if time_aware:
        with pytest.raises(ValueError, match=r"LPO: .* needs the learner's progress \(got None\), for example"):
            drift(jnp.log(R), jnp.asarray(A))
        with pytest.raises(ValueError, match="needs the learner's progress"):
            ppo_loss(jnp.log(R), jnp.zeros(R.shape), jnp.asarray(A), drift)
    else:
        np.testing.assert_allclose(drift(jnp.log(R), jnp.asarray(A)), values[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(drift(jnp.log(R), jnp.asarray(A), progress(3)), values[3], rtol=1e-4, atol=1e-4)


def test_a_time_aware_base_drift_makes_a_drift_time_aware():
    time_aware, other = (
        ProgramDrift(parse(f"def f(r, A, t): return square(r - 1.0) * {factor}")) for factor in ("t", "A")
    )
    assert time_aware.time_aware and not other.time_aware
    assert LPO(base_drift=time_aware).time_aware and not LPO(base_drift=other).time_aware


def test_the_loss_passes_the_progress_to_the_drift():
    drift, theta = DRIFTS["TA-LPO"], random_theta(DRIFTS["TA-LPO"])
    arrays = (jnp.log(R), jnp.zeros(R.shape), jnp.asarray(A))
    loss = jax.jit(lambda progress: ppo_loss(*arrays, bind_drift(drift, theta), progress=progress))
    for step in (2, 9):
        expected = jax.jit(lambda step: ppo_loss(*arrays, bind_drift(drift, theta, progress(step))))(step)
        np.testing.assert_allclose(loss(progress(step)), expected, rtol=1e-5)
    assert abs(loss(progress(2)) - loss(progress(9))) > 1e-3 * abs(loss(progress(2)))
    np.testing.assert_allclose(ppo_loss(*arrays, progress=progress(2)), ppo_loss(*arrays), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(0.0), "Clip: epsilon must be positive"),
        (lambda: DPO(alpha=-1.0), "DPO: alpha must be positive"),
        (lambda: DPO(beta=0.0), "DPO: beta must be positive"),
        (lambda: LPO(hidden=0), "LPO: hidden must be at least 1"),
        (lambda: LPO(xi=0.0), "LPO: xi must be positive"),
        (lambda: LPO(init_scale=-0.1), "LPO: init_scale must be positive"),
        (lambda: LPO(base_drift=LPO()), "LPO: base_drift must have no meta-parameters"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_time_feature_of_ta_lpo():
    np.testing.assert_allclose(Fraction()(progress(3)), [0.3], rtol=1e-6)
    assert Fraction().features == 1
