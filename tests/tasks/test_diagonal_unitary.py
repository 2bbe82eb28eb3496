"""Diagonal unitary AR sequences: the closed forms of the theory against Monte Carlo and against enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.incontext import AutoregressiveAttention
from lopt.tasks import ConstantInitial, DiagonalUnitaryAR, GaussianInitial, SignInitial, SparseInitial, closed_form_loss

KEY = jax.random.key(0)
INITIALS = {
    "Gaussian": GaussianInitial(0.8),
    "sparse": SparseInitial(0.8),
    "signs": SignInitial(0.8),
    "all ones": ConstantInitial(0.8),
}
for_initials = pytest.mark.parametrize("name", INITIALS)
D, T, NUMBER = 2, 5, 8_000


def task(name):
    return DiagonalUnitaryAR(dimensions=D, length=T, initial=INITIALS[name])


MODEL = AutoregressiveAttention(D, 0.4)
THETA = MODEL.init(jax.random.key(3))


def losses(theta, xs):
    errors = MODEL.apply(theta, xs)[1 : T - 1] - xs[2:]
    return 0.5 * (jnp.square(errors.real) + jnp.square(errors.imag)).sum(-1)


@jax.jit
@jax.vmap
def measure(xs):
    gradient = jax.grad(lambda theta: losses(theta, xs).sum())(THETA)
    return losses(MODEL.structured(0.7, 0.6), xs), gradient


@functools.cache
def measured(name):
    """Sequences, losses by position `[NUMBER, T - 2]` with ab = 0.42, and gradients at random weights."""
    xs = jax.jit(jax.vmap(task(name).sample))(jax.random.split(KEY, NUMBER))
    return xs, *measure(xs)


@for_initials
def test_phases_advance_by_one_angle_per_coordinate(name):
    xs = np.asarray(measured(name)[0])[:50]
    rotation = xs[:, 1] / np.where(xs[:, 0] == 0, np.inf, xs[:, 0])
    np.testing.assert_allclose(xs[:, 2:], xs[:, :1] * rotation[:, None] ** np.arange(2, T)[None, :, None], atol=1e-4)
    assert not xs[:, 0].imag.any()


@for_initials
def test_moments_of_the_initial_token(name):
    initial = INITIALS[name]
    x = np.asarray(jax.jit(jax.vmap(lambda key: initial.sample(key, 3)))(jax.random.split(KEY, NUMBER)), float)
    for exponents in ((2,), (4,), (6,), (1,), (2, 4), (1, 1), (1, 3, 2), (2, 2, 2)):
        products = np.prod([x[:, j] ** n for j, n in enumerate(exponents)], 0)
        error = max(products.std() / np.sqrt(NUMBER), 1e-6)
        assert abs(products.mean() - initial.moment(exponents, 3)) < 4 * error, exponents


@for_initials
def test_error_at_every_position_matches_theory(name):
    losses = np.asarray(measured(name)[1], float)
    expected = 0.5 * D * task(name).moments()[0] * task(name).relative_error(0.42)
    error = losses.std(0) / np.sqrt(NUMBER)
    assert (np.abs(losses.mean(0) - expected) < 4 * error + 1e-6).all()
    assert task(name).loss(0.42) == pytest.approx(expected.sum())


@for_initials
def test_gradient_of_the_closed_form_is_the_mean_gradient(name):
    """At random weights."""
    gradients = measured(name)[2]
    exact = closed_form_loss(task(name))
    expected = jax.jit(jax.grad(lambda theta: exact(theta["pv"], theta["kq"])))(THETA)
    scores = []
    for part, samples in gradients.items():
        error = np.asarray(samples, float).std(0) / np.sqrt(NUMBER)
        scores.append(np.abs(np.asarray(samples, float).mean(0) - expected[part]) / np.maximum(error, 1e-5))
    scores = np.concatenate([x.ravel() for x in scores])
    assert scores.max() < 4.5 and 0.3 < scores.mean() < 1.3, scores


@pytest.mark.parametrize(
    ("name", "initials"),
    [
        ("sparse", [(0.8, 0.0), (-0.8, 0.0), (0.0, 0.8), (0.0, -0.8)]),
        ("signs", list(itertools.product((0.8, -0.8), repeat=2))),
        ("all ones", [(0.8, 0.8)]),
    ],
)
def test_closed_form_equals_enumeration(name, initials):
    """A grid of angles with more points than the highest exponent integrates the phases exactly."""
    length, angles = 4, 2 * np.pi * np.arange(9) / 9
    pv, kq = (np.asarray(THETA[part], float) for part in ("pv", "kq"))
    total = []
    for initial, thetas in itertools.product(initials, itertools.product(angles, repeat=D)):
        x = np.array(initial) * np.exp(1j * np.outer(np.arange(length), thetas))
        e = np.hstack([x, np.vstack([np.zeros(D), x[:-1]])])
        errors = [
            pv @ (e[:t].T @ e[:t].conj()) @ kq @ e[t - 1] / (t - 1) - x[t] for t in range(2, length)
        ]  # x[t] is x_{t+1}
        total.append(0.5 * (np.abs(errors) ** 2).sum())
    exact = closed_form_loss(DiagonalUnitaryAR(dimensions=D, length=length, initial=INITIALS[name]))
    np.testing.assert_allclose(exact(THETA["pv"], THETA["kq"]), np.mean(total), rtol=1e-5)


@for_initials
def test_limit_minimises_the_loss_and_conserves_the_difference(name):
    process, c = task(name), task(name).limit_product()
    assert process.loss(c) < min(process.loss(c - 1e-3), process.loss(c + 1e-3))
    for a, b in ((0.1, 0.1), (0.5, 1.5), (3.0, 0.2)):
        limit = process.limit(a, b)
        np.testing.assert_allclose([limit[0] * limit[1], limit[0] ** 2 - limit[1] ** 2], [c, a * a - b * b], atol=1e-9)


def test_published_limits():
    """c* of arXiv 2405.16845: 1/s^2 for sparse initial tokens and any T, 1/(5 s^2) for Gaussian ones as T grows."""
    for scale in (0.5, 1.0, 2.0):
        assert DiagonalUnitaryAR(
            dimensions=5, length=100, initial=SparseInitial(scale)
        ).limit_product() == pytest.approx(scale**-2)
        assert DiagonalUnitaryAR(
            dimensions=5, length=10**6, initial=GaussianInitial(scale)
        ).limit_product() == pytest.approx(0.2 * scale**-2, rel=1e-4)
    values = [
        DiagonalUnitaryAR(dimensions=5, length=100, initial=GaussianInitial(s)).limit_product() for s in (1.0, 0.5, 2.0)
    ]
    np.testing.assert_allclose(values, [0.1919, 0.7676, 0.0480], atol=5e-5)
    assert DiagonalUnitaryAR(dimensions=5, length=100, initial=ConstantInitial()).limit_product() == pytest.approx(
        0.8258, abs=5e-5
    )


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="length >= 3"):
        DiagonalUnitaryAR(dimensions=5, length=2)
    with pytest.raises(ValueError, match="must be positive"):
        DiagonalUnitaryAR().limit(0.0, 1.0)
