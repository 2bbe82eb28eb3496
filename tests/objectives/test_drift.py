"""Drifts: valid whatever the weights, closed forms, and PPO at zero."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from lopt.objectives import DPO, LPO, TALPO, Clip, Drift, Fraction, FractionAndLogLifetime, bind_drift, ppo_loss
from lopt.objectives.lpo import features
from lopt.search import ProgramDrift, parse
from lopt.types import Progress
from tests.reference import naive
from tests.reference.lives import random_theta
from tests.reference.ulps import assert_ulps

LIFETIME = 10
DRIFTS = {
    "clip": Clip(),
    "DPO": DPO(),
    "LPO": LPO(hidden=16),
    "LPO from PPO": LPO(hidden=16, floor=Clip()),
    "TA-LPO": TALPO(hidden=16),
    "TA-LPO from DPO": TALPO(hidden=16, floor=DPO()),
    "LPO, two features of time": LPO(hidden=16, conditioning=FractionAndLogLifetime()),
}
for_drifts = pytest.mark.parametrize("name", DRIFTS)
RATIOS = np.concatenate([np.exp(np.linspace(-4, 4, 40)), 1 + np.linspace(-0.02, 0.02, 21)]).astype(np.float32)
ADVANTAGES = np.concatenate([np.linspace(-5, 5, 20), [-1e-3, 0.0, 1e-3, 40.0, -40.0]]).astype(np.float32)
R, A = map(np.ravel, np.meshgrid(RATIOS, ADVANTAGES))
SUMMED = 8 + 16  # numbers that a network adds to a value


def progress(step):
    return Progress(step=jnp.int32(step), lifetime=jnp.int32(LIFETIME))


@functools.cache
def compiled(name):
    """Value and slope in r `[steps, entries]`, at every n / N."""
    drift = DRIFTS[name]

    @jax.jit
    def evaluate(theta, ratio, advantage):
        def at(step):
            def f(ratio):
                return drift(theta, jnp.log(ratio), advantage, progress(step))

            value, pull = jax.vjp(f, ratio)
            return value, pull(jnp.ones_like(value))[0]

        return jax.vmap(at)(jnp.arange(LIFETIME + 1))

    return evaluate


@for_drifts
def test_drift_has_the_methods_and_hashes(name):
    assert isinstance(DRIFTS[name], Drift)
    assert isinstance(hash(DRIFTS[name]), int)
    assert DRIFTS[name] == DRIFTS[name].__class__(**vars(DRIFTS[name]))


@for_drifts
def test_a_drift_is_valid_whatever_its_weights_and_at_any_time(name):
    above = 0
    for seed in range(10):
        theta = jax.tree.map(lambda x, s=seed: x * (1 + s), random_theta(DRIFTS[name], seed))
        value, slope = compiled(name)(theta, R, A)
        assert value.shape == slope.shape == (LIFETIME + 1, *R.shape)
        assert np.isfinite(value).all() and np.isfinite(slope).all()
        assert (np.asarray(value) >= 0).all()
        for exact in (value, slope):
            np.testing.assert_array_equal(np.asarray(exact)[:, R == 1], 0)
        above += (np.asarray(value) > 0).mean()
    # not because there is nothing
    assert above > 1


@pytest.mark.parametrize("name", ["LPO", "TA-LPO from DPO"])
def test_a_network_is_flat_around_one(name):
    """At r = 1 a kink would go unnoticed: its slope could be any number between those at its sides."""
    theta = random_theta(DRIFTS[name])
    width = 1e-6
    ratio = np.array([1 - width, 1 + width], np.float32).repeat(len(ADVANTAGES))
    value, slope = compiled(name)(theta, ratio, np.tile(ADVANTAGES, 2))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(slope, 0)


@for_drifts
def test_one_drift_per_entry(name):
    """(B, 1) beside (B,) would be (B, B): the shapes are one, and the drift's."""
    theta, drift = random_theta(DRIFTS[name]), DRIFTS[name]
    for shape in ((5,), (1, 5), ()):
        zeros = jnp.zeros(shape)
        assert jax.eval_shape(lambda z: drift(theta, z, z, progress(3)), zeros).shape == shape
    with pytest.raises(TypeCheckError):
        drift(theta, jnp.zeros((5, 1)), jnp.zeros(5), progress(3))
    value, slope = compiled(name)(theta, R, A)
    again, _ = compiled(name)(theta, R[::-1], A[::-1])
    np.testing.assert_allclose(again, np.asarray(value)[:, ::-1], rtol=1e-5, atol=1e-5)


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
def test_dpo_rolls_back_below_a_ratio(advantage, threshold):
    r = np.linspace(threshold - 0.3, 1, 2001, dtype=np.float32)
    df = np.asarray(compiled("DPO")((), r, np.full_like(r, advantage))[1])[0]
    rolls_back = advantage - df > 0
    np.testing.assert_allclose(r[rolls_back].max(), threshold, atol=4e-4)


def test_closed_form_of_clip():
    value, slope = compiled("clip")((), R, A)
    beyond = (R - np.clip(R, 0.8, 1.2)) * A
    np.testing.assert_allclose(value[0], np.maximum(beyond, 0), rtol=1e-4, atol=1e-5)
    # r A - f is the minimum form, and so is its slope
    smaller = np.minimum(R * A, np.clip(R, 0.8, 1.2) * A)
    np.testing.assert_allclose(R * A - value[0], smaller, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(slope[0], np.where(beyond > 0, A, 0), rtol=1e-5, atol=1e-5)
    four = compiled("clip")((), *np.array([[1.5, 0.5, 0.5, 1.5], [1, -1, 1, -1]], np.float32))[0][0]
    np.testing.assert_allclose(four, [0.3, 0.3, 0, 0], atol=1e-6)


def test_a_network_of_zeros_is_ppo():
    drift = DRIFTS["LPO from PPO"]
    zeros = jax.tree.map(np.zeros_like, random_theta(drift))
    value, slope = compiled("LPO from PPO")(zeros, R, A)
    clip, clip_slope = compiled("clip")((), R, A)
    np.testing.assert_allclose(value, np.maximum(np.asarray(clip) - drift.xi, 0), atol=1e-6)
    counts = np.asarray(clip) > drift.xi
    np.testing.assert_allclose(np.asarray(slope)[counts], np.asarray(clip_slope)[counts], rtol=1e-5)
    np.testing.assert_array_equal(compiled("LPO")(zeros, R, A)[0], 0)


@pytest.mark.parametrize("name", ["LPO", "LPO from PPO", "TA-LPO", "LPO, two features of time"])
def test_the_network_equals_numpy(name):
    drift, theta = DRIFTS[name], random_theta(DRIFTS[name], dtype=np.float32)
    floor = np.maximum((R - np.clip(R, 0.8, 1.2)) * A, 0) if drift.floor else 0
    value, _ = compiled(name)(theta, R, A)
    # far out the features are thousands, and float32 has the sum of their products only roughly
    near = np.abs(np.log(R)) < 1.5
    for step in (0, 3, LIFETIME):
        time = np.asarray(drift.conditioning(progress(step)))
        expected = np.maximum(floor + naive.lpo(theta, np.float64(R), np.float64(A), time) - drift.xi, 0)
        np.testing.assert_allclose(value[step][near], expected[near], rtol=1e-3, atol=1e-3)


def terms(theta):
    """The size of what f sums at (R, A), by which its rounding is measured: through tanh, and beside it."""
    x = np.abs(np.asarray(features(jnp.log(R), jnp.asarray(A)), np.float64))
    hidden, out = np.float64(theta["hidden"]), np.abs(np.float64(theta["out"]))
    tanh = np.tanh(np.asarray(features(jnp.log(R), jnp.asarray(A)), np.float64) @ hidden)
    return ((1 - tanh**2) * (x @ np.abs(hidden)) + np.abs(tanh)) @ out


def test_without_weights_on_time_ta_lpo_is_lpo():
    theta = random_theta(DRIFTS["LPO"])
    aware = {"hidden": np.concatenate([theta["hidden"], np.zeros_like(theta["hidden"])]), "out": theta["out"]}

    @jax.jit
    def told(theta, step):
        return DRIFTS["TA-LPO"](theta, jnp.log(R), jnp.asarray(A), progress(step))

    plain = jax.jit(lambda theta: DRIFTS["LPO"](theta, jnp.log(R), jnp.asarray(A), progress(0)))(theta)
    for step in (0, 4, LIFETIME):
        assert_ulps(told(aware, step), plain, SUMMED, terms(theta))
    aware["hidden"][8:] = 1
    moved = [np.asarray(told(aware, step)) for step in range(LIFETIME + 1)]
    assert_ulps(moved[0], np.asarray(plain), SUMMED, terms(theta))
    assert all(np.abs(a - b).max() > 1e-2 for a, b in zip(moved, moved[1:], strict=False))


def test_antithetic_weights_are_the_same_drift_and_birth_is_elsewhere():
    drift = DRIFTS["LPO"]
    theta = random_theta(drift)
    value, _ = compiled("LPO")(theta, R, A)
    assert_ulps(compiled("LPO")(jax.tree.map(np.negative, theta), R, A)[0], value, SUMMED, terms(theta))
    born = jax.jit(LPO(hidden=4000).init)(jax.random.key(0))
    np.testing.assert_allclose([born["hidden"].std(), born["out"].std()], [8**-0.5, 0.1 * 4000**-0.5], rtol=0.05)
    shapes = jax.eval_shape(DRIFTS["TA-LPO"].init, jax.random.key(0))
    assert {name: x.shape for name, x in shapes.items()} == {"hidden": (16, 16), "out": (16,)}


def test_a_drift_by_itself():
    rule, theta = DRIFTS["TA-LPO"], random_theta(DRIFTS["TA-LPO"])
    expected = compiled("TA-LPO")(theta, R, A)[0]
    for bound, given in ((bind_drift(rule, theta, progress(7)), ()), (bind_drift(rule, theta), (progress(7),))):
        found = jax.jit(bound)(jnp.log(R), jnp.asarray(A), *given)
        np.testing.assert_allclose(found, expected[7], rtol=1e-4, atol=1e-4)


@for_drifts
def test_a_drift_that_depends_on_time_never_guesses_it(name):
    theta = random_theta(DRIFTS[name])
    values = compiled(name)(theta, R, A)[0]
    drift, aware = bind_drift(DRIFTS[name], theta), bool(np.ptp(values, axis=0).max() > 0)
    assert DRIFTS[name].time_aware == aware
    if aware:
        with pytest.raises(ValueError, match=r"LPO: .* needs the learner's progress \(got None\), for example"):
            drift(jnp.log(R), jnp.asarray(A))
        with pytest.raises(ValueError, match="needs the learner's progress"):
            ppo_loss(jnp.log(R), jnp.zeros(R.shape), jnp.asarray(A), drift)
    else:
        np.testing.assert_allclose(drift(jnp.log(R), jnp.asarray(A)), values[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(drift(jnp.log(R), jnp.asarray(A), progress(3)), values[3], rtol=1e-4, atol=1e-4)


def test_a_floor_that_depends_on_time_makes_a_drift_depend_on_it():
    timed, still = (ProgramDrift(parse(f"def f(r, A, t): return square(r - 1.0) * {factor}")) for factor in ("t", "A"))
    assert timed.time_aware and not still.time_aware
    assert LPO(floor=timed).time_aware and not LPO(floor=still).time_aware


def test_the_loss_passes_the_progress_on():
    rule, theta = DRIFTS["TA-LPO"], random_theta(DRIFTS["TA-LPO"])
    arrays = (jnp.log(R), jnp.zeros(R.shape), jnp.asarray(A))
    loss = jax.jit(lambda progress: ppo_loss(*arrays, bind_drift(rule, theta), progress=progress))
    for step in (2, 9):
        expected = jax.jit(lambda step: ppo_loss(*arrays, bind_drift(rule, theta, progress(step))))(step)
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
        (lambda: LPO(floor=LPO()), "LPO: the floor must have no meta-parameters"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_feature_of_ta_lpo():
    np.testing.assert_allclose(Fraction()(progress(3)), [0.3], rtol=1e-6)
    assert Fraction().features == 1
