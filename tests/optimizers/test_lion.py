"""Lion: equal to `optax.lion` up to rounding with every argument; and its differences from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import optimizers as lo
from lopt.optimizers import L1, Huber, LogCosh
from tests.reference.halves import HALVES
from tests.reference.ulps import assert_ulps

STEPS = 6
SCHEDULE = optax.cosine_decay_schedule(0.1, 5)


def params(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {"w": jnp.asarray(rng.normal(size=(4, 3)), dtype), "b": jnp.zeros(3, dtype)}


def gradient(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(4, 3)) * 10.0 ** rng.integers(-6, 4, (4, 3))
    return {"w": jnp.asarray(drawn, dtype), "b": jnp.asarray([0.0, 1.0, -2.0], dtype)}


def trajectory(tx, dtype=np.float32):
    """Parameters, states and updates of STEPS compiled steps."""

    @jax.jit
    def step(p, state, g):
        updates, state = tx.update(g, state, p)
        return optax.apply_updates(p, updates), state, updates

    p, history = params(dtype), []
    state = tx.init(p)
    for seed in range(STEPS):
        p, state, updates = step(p, state, gradient(seed, dtype))
        history.append(jax.tree.map(np.asarray, (p, state, updates)))
    return history


def assert_equal_trajectories(ours, reference):
    """At every step a sum of two products is rounded three times, or once if fused: an epsilon of its terms."""
    for step, reference_step in zip(ours, reference, strict=True):
        (p, state, updates), (p_, state_, updates_) = step, reference_step
        assert_ulps(p, p_, STEPS, scale=1.0)
        assert_ulps(state, state_, STEPS)
        assert_ulps(updates, updates_, STEPS, scale=max(np.abs(x).max() for x in jax.tree.leaves(updates_)))


ARGUMENTS = {
    "defaults": {},
    "numbers": {"learning_rate": 0.03, "b1": 0.95, "b2": 0.98, "weight_decay": 0.7},
    "schedules": {"learning_rate": SCHEDULE, "weight_decay": optax.linear_schedule(1.0, 0.1, 4)},
    "state in bfloat16": {"mu_dtype": jnp.bfloat16},
    "mask": {"weight_decay": 1.0, "mask": {"w": True, "b": False}},
    "function as mask": {"weight_decay": 1.0, "mask": lambda p: jax.tree.map(lambda x: x.ndim > 1, p)},
    "arrays": {"learning_rate": jnp.float32(0.03), "b1": jnp.float32(0.8), "weight_decay": jnp.float32(0.5)},
    "numpy": {"learning_rate": np.float32(0.03), "b2": np.float64(0.8), "weight_decay": np.float32(0.5)},
    "no momentum": {"b1": 0.0, "b2": 0.0},
    "no decay": {"weight_decay": 0.0},
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_lion_equals_optax_lion(arguments):
    kwargs = ARGUMENTS[arguments]
    ours, reference = lopt.lion(**kwargs), optax.lion(**({"learning_rate": 1e-4} | kwargs))
    assert_equal_trajectories(trajectory(ours), trajectory(reference))


def test_the_direction_equals_that_of_optax():
    for kwargs in ({}, {"b1": 0.5, "b2": 0.7, "mu_dtype": jnp.bfloat16}):
        ours, reference = lopt.scale_by_lion(**kwargs), optax.scale_by_lion(**kwargs)
        assert_equal_trajectories(trajectory(ours), trajectory(reference))


def test_traced_hyperparameters_give_the_updates_of_optax():
    def updates(factory, rate, b1):
        tx = factory(learning_rate=rate, b1=b1)
        return tx.update(gradient(1), tx.init(params()), params())

    ours, reference = (jax.jit(functools.partial(updates, factory))(0.01, 0.7) for factory in (lopt.lion, optax.lion))
    assert_ulps(ours, reference, ulps=2)  # two products and a sum


def test_the_modes_of_optax_lion_are_kernels():
    for mode, kernel in (({"mode": "smooth", "smooth_beta": 3.0}, LogCosh(3.0)), ({"mode": "refined"}, Huber(1.0))):
        reference, ours = trajectory(optax.scale_by_lion(**mode)), trajectory(lopt.optimizers.scale_by_lion_k(kernel))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_state_of_optax_lion_can_be_continued():
    tx, reference = lopt.lion(1e-2), optax.lion(1e-2)
    _, state, _ = trajectory(reference)[2]
    ours = tx.update(gradient(3), state, params())
    assert_ulps(ours, reference.update(gradient(3), state, params()), ulps=2)


def test_it_works_with_defaults_in_a_chain():
    tx = optax.chain(lopt.lion())
    updates, _ = tx.update(gradient(1), tx.init(params()), params())
    np.testing.assert_allclose(updates["b"], [0, -1e-4, 1e-4], rtol=1e-6)


def test_hyperparameters_can_be_injected():
    tx = optax.inject_hyperparams(lopt.lion)(learning_rate=0.5, weight_decay=0.0)
    state = tx.init(params())
    assert state.hyperparams["learning_rate"] == 0.5
    state.hyperparams["learning_rate"] = jnp.float32(0.25)
    updates, _ = tx.update(gradient(1), state, params())
    np.testing.assert_allclose(updates["b"], [0, -0.25, 0.25])
    kernel = optax.inject_hyperparams(lopt.lion_k)(L1(), learning_rate=SCHEDULE, b1=0.5)
    updates, _ = kernel.update(gradient(1), kernel.init(params()), params())
    np.testing.assert_allclose(updates["b"], [0, -0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_wider_state_does_not_widen_the_updates(dtype):
    for p, state, updates in trajectory(lopt.lion(0.1, mu_dtype=jnp.float32), dtype):
        assert p["w"].dtype == updates["w"].dtype == dtype and state[0].mu["w"].dtype == jnp.float32
    # the updates of optax.lion are wider than the gradients
    assert trajectory(optax.lion(0.1, mu_dtype=jnp.float32), dtype)[0][2]["w"].dtype == jnp.float32


def test_complex_updates_are_unit_phases():
    tx, p = lopt.lion(1.0, weight_decay=0.0), {"z": jnp.array([3 + 4j, 0j])}
    updates, state = tx.update(p, tx.init(p), p)
    np.testing.assert_allclose(updates["z"], [-0.6 - 0.8j, 0], rtol=1e-6)
    assert updates["z"].dtype == state[0].mu["z"].dtype == jnp.complex64


def test_integer_leaves_do_not_change():
    p = {"w": jnp.ones(2), "n": jnp.array([2**30 + 1, -7]), "flag": jnp.array(True)}
    tx = lopt.cautious(lopt.lion(0.1, weight_decay=1.0))
    grads = jax.grad(lambda p: (p["w"] ** 2).sum() * p["n"].sum(), allow_int=True)(p)
    updates, state = tx.update(grads, tx.init(p), p)
    after = optax.apply_updates(p, updates)
    assert (after["n"] == p["n"]).all() and after["n"].dtype == p["n"].dtype and after["flag"] == p["flag"]
    assert (after["w"] != p["w"]).all() and state[0].mu["n"].dtype == jnp.int32
    assert np.isfinite(lopt.kkt_gap(p, grads, 0.1, L1()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lopt.lion(0), "learning_rate must be finite and above 0 .got 0"),
        (lambda: lopt.lion(-1e-4), "learning_rate"),
        (lambda: lopt.lion(float("nan")), "learning_rate"),
        (lambda: lopt.lion(np.float32(-1)), "learning_rate"),
        (lambda: lopt.lion(b1=1.1), r"b1 must be finite and in \[0, 1\] .got 1.1"),
        (lambda: lopt.scale_by_lion(b2=-0.1), "b2"),
        (lambda: lopt.lion(weight_decay=-1.0), "weight_decay must be finite and at least 0"),
        (lambda: lopt.lion(mu_dtype=jnp.int8), "mu_dtype must be floating .got int8"),
        (lambda: lopt.kkt_gap(params(), params(), -1.0, L1()), "weight_decay"),
        (lambda: lopt.kkt_gap(params(), {"w": jnp.zeros(2)}, 1.0, L1()), "structure"),
    ],
)
def test_invalid_arguments_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_schedule_free_lion_finds_a_minimum():
    target = jnp.array([0.3, -0.7, 0.1])
    tx = optax.contrib.schedule_free(lopt.lion(0.01, b1=0.0, weight_decay=0), learning_rate=0.01, b1=0.9)

    def step(carry, _):
        y, state = carry
        updates, state = tx.update(2 * (y - target), state, y)
        return (optax.apply_updates(y, updates), state), None

    (y, state), _ = jax.jit(lambda y: jax.lax.scan(step, (y, tx.init(y)), None, 2000))(jnp.zeros(3))
    np.testing.assert_allclose(optax.contrib.schedule_free_eval_params(state, y), target, atol=0.01)


def test_lion_minimises_the_rosenbrock_function():
    tx = lopt.lion(optax.linear_schedule(0.02, 0.0, 3000), weight_decay=0)

    def loss(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(jax.grad(loss)(x), state, x)
        return (optax.apply_updates(x, updates), state), None

    x = jnp.array([-1.2, 1.0])
    (x, _), _ = jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), None, 3000))(x)
    np.testing.assert_allclose(x, [1, 1], atol=3e-2)


RNG = np.random.default_rng(0)
GRADS = [{"w": np.float32(RNG.normal(size=(3, 4))), "b": np.float32(RNG.normal(size=3))} for _ in range(5)]
INITIAL = {"w": jnp.ones((3, 4)), "b": jnp.zeros(3)}


def run(tx):
    p, state = INITIAL, tx.init(INITIAL)
    for g in GRADS:
        updates, state = tx.update(g, state, p)
        p = optax.apply_updates(p, updates)
    return p, updates, state


def test_cautious_lion_equals_the_published_algorithm():
    rate, decay, b1, b2 = 0.1, 0.5, 0.9, 0.99
    tx = optax.chain(
        lopt.cautious(lopt.scale_by_lion(b1, b2), direction=True),
        optax.add_decayed_weights(decay),
        optax.scale_by_learning_rate(rate),
    )
    p = {k: np.array(x) for k, x in INITIAL.items()}
    m = {k: np.zeros_like(x) for k, x in p.items()}
    for g in GRADS:
        for k in p:
            u = np.sign(b1 * m[k] + (1 - b1) * g[k])
            mask = u * g[k] > 0
            p[k] = p[k] - rate * (u * mask * mask.size / (mask.sum() + 1) + decay * p[k])
            m[k] = b2 * m[k] + (1 - b2) * g[k]
    found, _, _ = run(tx)
    for k in p:
        np.testing.assert_allclose(found[k], p[k], rtol=1e-5)


def test_no_update_ascends_along_the_gradient():
    _, uncautious, state = run(lopt.lion(0.1))
    _, updates, cautious_state = run(lopt.cautious(lopt.lion(0.1)))
    assert jax.tree.structure(state) == jax.tree.structure(cautious_state)
    ascends = jax.tree.map(lambda u, g: u * g > 0, uncautious, GRADS[-1])
    assert any(x.any() for x in jax.tree.leaves(ascends))
    for u, g in zip(jax.tree.leaves(updates), jax.tree.leaves(GRADS[-1]), strict=True):
        assert (u * g <= 0).all() and (u != 0).any()


def test_it_wraps_any_optimizer_with_and_without_rescaling():
    _, sgd, _ = run(optax.sgd(0.1))
    _, unscaled, _ = run(lopt.cautious(optax.sgd(0.1), rescale=False))
    _, scaled, _ = run(lopt.cautious(optax.sgd(0.1)))
    for key, size in (("w", 12), ("b", 3)):
        assert_ulps(unscaled[key], sgd[key], ulps=1)  # a product
        np.testing.assert_allclose(scaled[key], sgd[key] * size / (size + 1), rtol=1e-6)


X = {"w": jnp.array([0.5, -0.2, 0.1]), "b": jnp.array(-0.5)}
G = {"w": jnp.array([-2.0, 0.3, 0.0]), "b": jnp.array(1.0)}


def test_for_lion_it_is_the_frank_wolfe_gap():
    lam = 2.0
    frank_wolfe_gap = sum(np.sum(np.abs(G[k]) * (1 + lam * X[k] * np.sign(G[k]))) for k in X)
    np.testing.assert_allclose(jax.jit(lambda x, g: lopt.kkt_gap(x, g, lam, lo.L1()))(X, G), frank_wolfe_gap, rtol=1e-6)


def test_it_is_zero_at_a_corner_of_the_box_if_the_descent_direction_points_outward():
    x, g = {"w": jnp.array([0.5, -0.5])}, {"w": jnp.array([-3.0, 1e-3])}
    assert lopt.kkt_gap(x, g, 2.0, lo.L1()) == 0
    assert lopt.kkt_gap({"w": -x["w"]}, g, 2.0, lo.L1()) > 6


def test_outside_the_set_it_is_infinite_up_to_rounding():
    assert np.isposinf(lopt.kkt_gap(X, G, 2.2, lo.L1()))
    assert np.isfinite(lopt.kkt_gap(jax.tree.map(lambda x: x * (1 + 1e-6), X), G, 2.0, lo.L1()))


def test_without_weight_decay_it_is_the_norm_of_the_gradient():
    np.testing.assert_allclose(lopt.kkt_gap(X, G, 0.0, lo.L1()), 3.3, rtol=1e-6)
    np.testing.assert_allclose(lopt.kkt_gap(X, G, 0, lo.L2()), np.sqrt(5.09), rtol=1e-6)


def test_it_is_float32_for_bfloat16_parameters():
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (X, G))
    gap = lopt.kkt_gap(*half, 1.0, lo.L2())
    assert gap.shape == () and gap.dtype == jnp.float32 and 0 < gap < 10
