"""Numerical checks of the theory of Lion-K: its two phases, its Lyapunov function, and the problem that it solves.

The objective is f(x) = x'Ax / 2 - b'x with random A. The tests of the theory run in float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import lopt
from lopt import optimizers as lo
from tests.reference.kernels import FREE, KERNELS, matrices

B1, B2, DECAY, EPS = 0.9, 0.99, 2.0, 0.01
RATE = EPS / (1 + EPS * DECAY)  # the learning rate with which the explicit step equals the paper's implicit one
SIZE, STEPS = 18, 300
SMOOTH = ("log-cosh", "relativistic", "half square", "quadratic")
VARIANTS = (  # variants of kernels that the fast tests cover
    "soft threshold",
    "relativistic",
    "l3",
    "l1.5",
    "neurons",
    "l2 per leaf",
    "top-k per leaf",
    "half l1 square",
    "quadratic",
)


def kernels(names):
    """One case per kernel; those of `VARIANTS` are slow tests."""
    marks = {True: pytest.mark.slow, False: ()}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name in VARIANTS]) for name in names])


for_constrained = kernels([name for name in KERNELS if name not in FREE])
for_kernels = kernels(KERNELS)


def quadratic(seed=0, size=SIZE):
    """A, b and the largest eigenvalue of A."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    a = root @ root.T / size + 0.1 * np.eye(size)
    return a, 3 * rng.normal(size=size), np.linalg.eigvalsh(a)[-1]


@functools.cache
def tree_of():
    with jax.enable_x64(True):
        return ravel_pytree(jax.tree.map(jnp.asarray, matrices(0)))[1]


def flat(tree):
    return jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])


def walk(tx, x, grads_of, xs):
    """The iterates and the momenta, before every step and after the last."""

    def step(carry, inputs):
        x, state = carry
        updates, after = tx.update(grads_of(x, inputs), state, x)
        return (optax.apply_updates(x, updates), after), (x, state[0].mu)

    (x, state), history = jax.lax.scan(step, (x, tx.init(x)), xs)
    return jax.tree.map(lambda old, new: jnp.concatenate([old, new[None]]), history, (x, state[0].mu))


@functools.cache
def dynamics(name):
    """Three runs: f from outside the set, random gradients from inside, and f from inside."""
    kernel, tree = KERNELS[name], tree_of()
    tx = lopt.lion_k(kernel, RATE, B1, B2, weight_decay=DECAY)
    a, b, _ = quadratic()

    def lyapunov(x, mu):
        q = EPS * B1 / (EPS * DECAY * (1 - B1) + (1 - B2))
        y, m = jax.tree.map(lambda x: DECAY * x, x), jax.tree.map(jnp.negative, mu)
        bracket = kernel.conjugate(y) + kernel.value(m) - flat(y) @ flat(m)
        return flat(x) @ a @ flat(x) / 2 - b @ flat(x) + kernel.conjugate(y) / DECAY + q * bracket

    def gradient(x, inputs):
        random, g = inputs
        return jax.tree.map(lambda exact, noise: jnp.where(random, noise, exact), tree(a @ flat(x) - b), g)

    @jax.jit
    def evaluate(initial, inputs):
        xs, mus = jax.vmap(lambda x, inputs: walk(tx, x, gradient, inputs))(initial, inputs)
        scaled = jax.tree.map(lambda x: DECAY * x[:2], xs)
        iterates = jax.vmap(flat)(jax.tree.map(lambda x: x[2], xs))
        return {
            "distances": jax.vmap(jax.vmap(kernel.distance))(scaled),
            "lyapunov": jax.vmap(lyapunov)(*jax.tree.map(lambda x: x[2], (xs, mus))),
            "squares": jnp.sum((iterates[1:] - iterates[:-1]) ** 2, axis=-1),
        }

    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        inside = (0.7 if name != "softmax" else 1.0) / DECAY * flat(kernel.map(tree(rng.normal(size=SIZE))))
        outside = 20 / DECAY * (1 + rng.random(SIZE))
        noise = rng.normal(size=(3, STEPS, SIZE)) * 10 ** rng.normal(size=(3, STEPS, 1))
        initial = jax.vmap(tree)(jnp.stack([outside, inside, inside]))
        random = np.repeat([[False], [True], [False]], STEPS, axis=1)
        return jax.tree.map(np.asarray, evaluate(initial, (random, jax.vmap(jax.vmap(tree))(noise))))


@for_constrained
def test_the_distance_to_the_set_shrinks_by_the_weight_decay(name):
    distance = dynamics(name)["distances"][0]
    outside = distance[:-1] > 1e-9
    assert outside[:50].all()
    assert (distance[1:][outside] / distance[:-1][outside]).max() <= 1 - RATE * DECAY + 1e-9


@for_constrained
def test_iterates_stay_in_the_set_under_random_gradients(name):
    assert dynamics(name)["distances"][1].max() < 1e-12


@for_kernels
def test_the_lyapunov_function_decreases_up_to_the_curvature_term(name):
    values, (_, _, curvature) = dynamics(name), quadratic()
    rise = np.diff(values["lyapunov"])
    assert np.isfinite(values["lyapunov"]).all()
    assert (rise - curvature / 2 * values["squares"]).max() <= 1e-9
    assert values["lyapunov"][-1] < values["lyapunov"][0]
    if name in SMOOTH:
        assert rise.max() < 0


@pytest.mark.parametrize("variant", ["constant", "schedule", "multi steps", "mask"])
def test_lion_stays_in_its_box_for_ten_thousand_steps(variant):
    rates = {"schedule": optax.cosine_decay_schedule(0.4, 9000)}
    mask = {"float32": True, "bfloat16": True, "free": False} if variant == "mask" else None
    tx = lopt.lion(rates.get(variant, 0.1), weight_decay=DECAY, mask=mask)
    tx = optax.MultiSteps(tx, 3) if variant == "multi steps" else tx

    @jax.jit
    def largest(x, noise):
        def step(carry, noise):
            x, state = carry
            # a sign that persists for many steps, so that the boundary is reached
            drift = jnp.sign(jnp.sin(jax.tree.leaves(state)[0] / 700.0))
            updates, state = tx.update(jax.tree.map(lambda x: (noise + drift).astype(x.dtype), x), state, x)
            x = optax.apply_updates(x, updates)
            return (x, state), jax.tree.map(lambda x: jnp.max(jnp.abs(x)), x)

        out = jax.lax.scan(step, (x, tx.init(x)), noise)[1]
        return jax.tree.map(jnp.max, out)

    noise = np.float32(np.random.default_rng(0).normal(size=(10_000, 4)))
    initial = {"float32": jnp.zeros(4), "bfloat16": jnp.zeros(4, jnp.bfloat16), "free": jnp.zeros(4)}
    found = largest(initial, noise)
    for dtype in ("float32", "bfloat16"):
        assert 0.4 < found[dtype] <= 1 / DECAY + float(jnp.finfo(dtype).eps) / DECAY
    assert (found["free"] > 2) == (variant == "mask")


def projected(a, b, project, steps=20_000):
    """Reference solution of the constrained problem by projected gradient descent in numpy."""
    x, rate = np.zeros_like(b), 1 / np.linalg.eigvalsh(a)[-1]
    for _ in range(steps):
        x = project(x - rate * (a @ x - b))
    return x


PROBLEMS = {
    "l1": lambda a, b: projected(a, b, lambda x: np.clip(x, -1 / DECAY, 1 / DECAY)),
    "l2": lambda a, b: projected(a, b, lambda x: x / max(1.0, DECAY * np.linalg.norm(x))),
    "half square": lambda a, b: np.linalg.solve(a + DECAY * np.eye(len(b)), b),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_converges_to_the_reference_solution_where_the_kkt_gap_is_zero(name):
    a, b, _ = quadratic(3, size=6)
    expected = PROBLEMS[name](a, b)
    kernel = KERNELS[name]
    tx = lopt.lion_k(kernel, optax.exponential_decay(0.05, 1000, 0.2), B1, B2, weight_decay=DECAY)

    def grads(x, _):
        return {"x": a @ x["x"] - b}

    with jax.enable_x64(True):
        history, _ = jax.jit(lambda x: walk(tx, x, grads, jnp.arange(8000)))({"x": jnp.zeros(6)})
        gap = jax.jit(jax.vmap(lambda x: lopt.kkt_gap(x, grads(x, 0), DECAY, kernel)))(history)
        at_solution = float(lopt.kkt_gap({"x": expected}, grads({"x": expected}, 0), DECAY, kernel))
        found, gap = np.asarray(history["x"][-1]), np.asarray(gap)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if name == "l1":
        bound = np.abs(expected) > 1 / DECAY - 1e-9
        assert 0 < bound.sum() < 6  # some constraints are active, and some are not
    assert abs(at_solution) < 1e-6
    assert gap.min() > -1e-9 and gap[0] > 1 and gap[-1] < 1e-3


def test_the_energy_of_the_continuous_system_decreases_as_in_the_theorem():
    a_, c, e, lam, sharpness = 0.7, 1.3, 0.4, 2.0, 1.5
    kernel, (matrix, b, _) = lo.LogCosh(sharpness), quadratic(5, size=4)
    kappa = (1 - e * c) / (1 + e * lam)

    def field(x, m):
        grad = matrix @ x - b
        ahead = m - e * (a_ * grad + c * m)
        return kernel.map(ahead) - lam * x, -a_ * grad - c * m, ahead

    def energy(x, m):
        bracket = kernel.conjugate(lam * x) + kernel.value(m) - lam * x @ m
        return a_ * (x @ matrix @ x / 2 - b @ x) + c / lam * kernel.conjugate(lam * x) + kappa * bracket

    @jax.jit
    @jax.vmap
    def both_sides(x, m):
        dx, dm, ahead = field(x, m)
        slope = jax.jvp(energy, (x, m), (dx, dm))[1]
        p = jnp.arctanh(lam * x) / sharpness  # in the subdifferential of K* at lambda x
        d1 = (ahead - p) @ (kernel.map(ahead) - lam * x)
        d2 = (ahead - m) @ (kernel.map(ahead) - kernel.map(m)) / e
        return slope, d1, d2

    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        slope, d1, d2 = map(np.asarray, both_sides(rng.uniform(-0.9, 0.9, (20, 4)) / lam, rng.normal(size=(20, 4))))
    assert d1.min() >= 0 and d2.min() >= 0
    np.testing.assert_allclose(slope, -(lam + c) / (1 + e * lam) * d1 - kappa * d2, rtol=1e-10)


def test_newton_schulz_stays_near_the_spectral_ball():
    tx = lopt.lion_k(lo.Nuclear(lo.NewtonSchulz()), 0.05, weight_decay=DECAY)
    rng = np.random.default_rng(0)
    grads = {"w": jnp.asarray(rng.normal(size=(500, 4, 3)) + 2, np.float32)}
    history, _ = jax.jit(lambda x: walk(tx, x, lambda _, g: g, grads))({"w": jnp.zeros((4, 3))})
    spectral = DECAY * np.linalg.norm(history["w"], 2, axis=(1, 2))
    assert 0.5 < spectral.max() < 1.25


def test_equal_betas_are_signum():
    rng = np.random.default_rng(0)
    x, m, grads = rng.normal(size=5), np.zeros(5), rng.normal(size=(30, 5))
    tx = lopt.lion(0.1, 0.9, 0.9, weight_decay=0.5)
    with jax.enable_x64(True):
        history, _ = walk(tx, {"x": jnp.asarray(x)}, lambda _, g: g, {"x": grads})
    for g in grads:
        m = 0.9 * m + 0.1 * g
        x = x - 0.1 * (np.sign(m) + 0.5 * x)
    np.testing.assert_allclose(history["x"][-1], x, rtol=1e-12)


def test_without_weight_decay_there_is_no_constraint():
    tx = lopt.lion(0.1, weight_decay=0)
    history, _ = walk(tx, {"x": jnp.zeros(1)}, lambda _, g: g, {"x": -np.ones((400, 1), np.float32)})
    np.testing.assert_allclose(history["x"][-1], 40, rtol=1e-4)


@pytest.mark.parametrize("name", ["l1", "l2", "l3", "top-k", "rows", "l2 per leaf"])
def test_iterates_are_invariant_to_the_scale_of_the_objective(name):
    tx, tree = lopt.lion_k(KERNELS[name], 0.1, weight_decay=0.5), tree_of()
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, grads = tree(rng.normal(size=SIZE)), jax.vmap(tree)(rng.normal(size=(20, SIZE)))
        steps = jax.jit(lambda grads: walk(tx, x, lambda _, g: g, grads)[0])
        unscaled, scaled = steps(grads), steps(jax.tree.map(lambda g: 1024 * g, grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), unscaled, scaled)


def test_the_explicit_step_equals_the_implicit_one():
    kernel, tree = lo.LogCosh(2.0), tree_of()
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, g = (tree(rng.normal(size=SIZE)) for _ in range(2))
        tx = lopt.lion_k(kernel, RATE, B1, B2, weight_decay=DECAY)
        updates, _ = tx.update(g, tx.init(x), x)
        after = flat(optax.apply_updates(x, updates))
        implicit = flat(x) + EPS * (flat(kernel.map(jax.tree.map(lambda g: -(1 - B1) * g, g))) - DECAY * after)
    np.testing.assert_allclose(after, implicit, rtol=1e-12)


def test_muon_is_lion_k_of_the_nuclear_norm_for_matrices_and_lion_for_vectors():
    rng = np.random.default_rng(0)
    params = {"w": jnp.array(rng.normal(size=(4, 3)), jnp.float32), "b": jnp.ones(3)}
    optimizers = {
        "muon": lopt.muon(0.02, weight_decay=0.1),
        "w": lopt.lion_k(lo.Nuclear(lo.NewtonSchulz()), 0.02, 0.95, 0.95, weight_decay=0.1),
        "b": lopt.lion(0.002, weight_decay=0.1),
    }
    states = {"muon": optimizers["muon"].init(params)} | {k: optimizers[k].init({k: params[k]}) for k in ("w", "b")}
    for _ in range(3):
        grads = {k: jnp.array(rng.normal(size=x.shape), jnp.float32) for k, x in params.items()}
        updates, states["muon"] = optimizers["muon"].update(grads, states["muon"], params)
        for k in ("w", "b"):
            expected, states[k] = optimizers[k].update({k: grads[k]}, states[k], {k: params[k]})
            np.testing.assert_allclose(updates[k], expected[k], rtol=1e-5, atol=1e-7)
    singular = np.linalg.svd(updates["w"] + 0.02 * 0.1 * params["w"], compute_uv=False)
    assert (0.4 * 0.02 < singular).all() and (singular < 1.6 * 0.02).all()
    with pytest.raises(ValueError, match="expected `vectors`"):
        lopt.muon(optax.constant_schedule(0.1))
