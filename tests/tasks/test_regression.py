"""In-context regression: contents of sequences, classical predictors, and exact posteriors."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from lopt.protocols import SequenceTask
from lopt.tasks import (
    GaussianInputs,
    LinearFunction,
    LinearRegression,
    LinearSystem,
    PriorPredictor,
    UniformInputs,
    averaging,
    gaussian_losses,
    gradient_descent,
    least_squares,
    mean_and_std,
    predict_from_pool,
    ridge,
    squared_errors,
)
from tests.reference import keys
from tests.reference.ulps import assert_ulps

KEY = jax.random.key(0)
NOISES = (0.3, 0.6, 1.2)
PRIOR = LinearRegression(dimensions=3, length=9, noises=NOISES, std=1.5)
POOL = LinearRegression(dimensions=3, length=9, noises=NOISES, std=1.5, pool=4, pool_seed=5)
NUMBER = 4000


@functools.cache
def sequences(task=PRIOR):
    """`NUMBER` functions and contexts."""

    @jax.jit
    @jax.vmap
    def draw(key):
        key_task, key_context = jax.random.split(key)
        function = task.sample(key_task)
        return function, task.context(key_context, function, held_out=False)

    return draw(jax.random.split(KEY, NUMBER))


@functools.cache
def first_sequence():
    """Inputs and labels of the first sequence in double precision."""
    c = sequences()[1]
    return np.asarray(c.xs[0], float), np.asarray(c.targets[0], float)


@functools.cache
def predictions(of_pool=False):
    """Exact posterior predictions of all sequences."""
    c = sequences(POOL if of_pool else PRIOR)[1]
    functions = jax.jit(POOL.functions)()
    rule = functools.partial(predict_from_pool, functions) if of_pool else PriorPredictor(1.5, NOISES).predict
    return jax.jit(jax.vmap(rule))(c.xs, c.targets[..., 0])


@pytest.mark.parametrize(
    "task", [PRIOR, POOL, LinearSystem(dimensions=3, length=6)], ids=["prior", "pool", "linear system"]
)
def test_sequence_task_contract(task, monkeypatch):
    assert isinstance(task, SequenceTask) and isinstance(hash(task), int)
    keys.trace(monkeypatch, task.sample, KEY)
    variation = jax.jit(task.sample)(KEY)
    keys.trace(monkeypatch, functools.partial(task.context, held_out=False), KEY, variation)
    c = jax.jit(functools.partial(task.context, held_out=False))(KEY, variation)
    assert len(c.xs) == len(c.ys_prev) == len(c.targets) == task.length
    assert not np.asarray(c.ys_prev[0]).any()
    np.testing.assert_array_equal(c.ys_prev[1:], c.targets[:-1])
    losses, metrics = task.losses(variation, jnp.zeros_like(c.targets), c.targets)
    assert losses.shape == (task.length,) and all(x.shape == (task.length,) for x in metrics.values())


def test_labels_are_function_values_with_noise():
    functions, c = sequences()
    residuals = np.asarray(c.targets[..., 0]) - np.einsum("nx,ntx->nt", functions.weights, c.xs)
    for noise in NOISES:
        selected = np.isclose(np.asarray(functions.noise), noise)
        assert abs(selected.mean() - 1 / 3) < 4 * math.sqrt(2 / 9 / NUMBER)
        assert residuals[selected].std() == pytest.approx(noise, rel=0.04)
    weights = np.asarray(functions.weights)
    assert weights.std() == pytest.approx(1.5, rel=0.04) and abs(weights.mean()) < 0.06


def test_pool_is_determined_by_its_seed():
    sampled, members = sequences(POOL)[0], jax.jit(POOL.functions)()
    assert members.weights.shape == (4, 3)
    distinct, counts = np.unique(np.asarray(sampled.weights), axis=0, return_counts=True)
    # the polynomial of a normal number has some 15 terms of size one, rounded twice each
    assert_ulps(distinct, np.unique(np.asarray(members.weights), axis=0), ulps=30, scale=1.5)
    assert (np.abs(counts / NUMBER - 0.25) < 4 * math.sqrt(3 / 16 / NUMBER)).all()
    other = jax.jit(LinearRegression(dimensions=3, length=9, noises=NOISES, pool=4, pool_seed=6).functions)()
    assert (np.asarray(other.weights) != np.asarray(members.weights)).all()


@pytest.mark.parametrize("inputs", [GaussianInputs((0.5, 0.5)), UniformInputs(3.0)], ids=["Gaussian", "uniform"])
def test_moments_of_the_inputs(inputs):
    x = np.asarray(inputs.sample(KEY, (40_000, 2)), float)
    for power, moment in zip((2, 4), inputs.moments(), strict=True):
        assert (x**power).mean() == pytest.approx(moment, rel=0.03)
    assert GaussianInputs((0.0, 2.0)).sample(KEY, (5, 2))[:, 0].sum() == 0


def test_ridge_and_least_squares_match_scikit_learn():
    xs, ys = first_sequence()
    single = jnp.array(xs, jnp.float32), jnp.array(ys, jnp.float32)
    predicted = {
        linear_model.Ridge(0.7, fit_intercept=False): ridge(*single, 0.7),
        linear_model.LinearRegression(fit_intercept=False): least_squares(*single),
    }
    for model, values in predicted.items():
        assert values[0] == 0
        for t in range(1, len(xs)):
            np.testing.assert_allclose(
                values[t], model.fit(xs[:t], ys[:t]).predict(xs[t : t + 1])[0], rtol=2e-3, atol=1e-3
            )


def test_averaging_and_gradient_descent_match_numpy():
    xs, ys = first_sequence()
    single = jnp.array(xs, jnp.float32), jnp.array(ys, jnp.float32)
    average, steps = averaging(*single), gradient_descent(*single, 0.3, 3)
    for t in range(1, len(xs)):
        moment, gram, weights = xs[:t].T @ ys[:t] / t, xs[:t].T @ xs[:t] / t, np.zeros((3, 1))
        np.testing.assert_allclose(average[t], moment.T @ xs[t], rtol=1e-4, atol=1e-5)
        for _ in range(3):
            weights += 0.3 * (moment - gram @ weights)
        np.testing.assert_allclose(steps[t], weights.T @ xs[t], rtol=1e-4, atol=1e-5)


def test_error_of_least_squares_falls_linearly_to_zero():
    """Without noise it is d - t + 1 at position t, and zero from d examples on (arXiv 2208.01066)."""
    _, c = sequences(LinearRegression(dimensions=4, length=7))
    errors = np.asarray(jnp.square(jax.jit(jax.vmap(least_squares))(c.xs, c.targets) - c.targets)[..., 0], float)
    error = errors.std(0) / math.sqrt(NUMBER)
    assert (np.abs(errors.mean(0) - [4, 3, 2, 1, 0, 0, 0]) < 4 * error + 1e-2).all()


def test_posterior_mean_for_known_noise_is_ridge_regression():
    c = sequences()[1]
    xs, ys = c.xs[:20], c.targets[:20]
    exact = jax.jit(jax.vmap(PriorPredictor(1.5, (0.6,)).predict))(xs, ys[..., 0])
    ridge_mean = jax.jit(jax.vmap(functools.partial(ridge, penalty=0.6**2 / 1.5**2)))(xs, ys)
    np.testing.assert_allclose(exact.mean, ridge_mean[..., 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", [0, 1, 5, 8])
def test_posterior_matches_importance_sampling(t):
    """With 400 000 functions from the prior."""
    xs, ys = first_sequence()
    rng = np.random.default_rng(t)
    weights, noise = 1.5 * rng.normal(size=(400_000, 3)), rng.choice(NOISES, 400_000)
    logs = (-np.log(noise)[:, None] - 0.5 * ((ys[:t, 0] - weights @ xs[:t].T) / noise[:, None]) ** 2).sum(1)
    posterior = np.exp(logs - logs.max())
    posterior /= posterior.sum()
    means = weights @ xs[t]
    mean = posterior @ means
    variance = posterior @ (noise**2 + (means - mean) ** 2)
    error = math.sqrt(variance * (posterior**2).sum())
    exact = jax.tree.map(lambda x: float(x[0, t]), predictions())
    assert abs(exact.mean - mean) < 5 * error
    assert exact.variance == pytest.approx(variance, rel=20 * math.sqrt((posterior**2).sum()))


def test_prediction_for_an_empty_context_is_that_of_the_prior():
    c, exact = sequences()[1], predictions()
    assert not np.asarray(exact.mean[:, 0]).any()
    expected = 1.5**2 * np.square(c.xs[:, 0]).sum(-1) + np.square(NOISES).mean()
    np.testing.assert_allclose(exact.variance[:, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("of_pool", [False, True], ids=["prior", "pool"])
def test_posteriors_are_calibrated(of_pool):
    """At every position standardised squared errors have mean one, and mean and error are uncorrelated."""
    c, exact = sequences(POOL if of_pool else PRIOR)[1], predictions(of_pool)
    z = np.asarray((c.targets[..., 0] - exact.mean) / jnp.sqrt(exact.variance), float)
    for values, expected in ((z, 0.0), (z**2, 1.0), (z * np.asarray(exact.mean), 0.0)):
        error = values.std(0) / math.sqrt(NUMBER)
        assert (np.abs(values.mean(0) - expected) < 4 * error + 1e-9).all(), values.mean(0)


def test_posterior_has_the_highest_density():
    """On functions of the prior, compared with a wrong noise or prior variance, and with the pool."""
    c, exact = sequences()[1], predictions()
    functions = jax.jit(POOL.functions)()
    for rule in (
        PriorPredictor(1.5, NOISES[:1]).predict,
        PriorPredictor(1.5, NOISES[-1:]).predict,
        PriorPredictor(0.7, NOISES).predict,
        functools.partial(predict_from_pool, functions),
    ):
        other = jax.jit(jax.vmap(rule))(c.xs, c.targets[..., 0])
        gain = np.asarray(exact.log_density - other.log_density, float)[:, 2:].mean(1)
        assert gain.mean() > 4 * gain.std() / math.sqrt(NUMBER)


def test_random_labels_raise_the_variance():
    """Labels that no function explains count as noise."""
    c = sequences()[1]
    random_labels = jnp.flip(c.targets[..., 0], 0)
    predicted = jax.jit(jax.vmap(PriorPredictor(1.5, NOISES).predict))(c.xs, random_labels)
    assert float(predicted.variance[:, 8].mean()) > 1.5 * float(predictions().variance[:, 8].mean())


def test_posterior_over_a_pool_matches_numpy():
    xs, ys = first_sequence()
    members = jax.tree.map(np.asarray, jax.jit(POOL.functions)())
    prediction = predict_from_pool(
        LinearFunction(*map(jnp.array, (members.weights, members.noise))),
        jnp.array(xs, jnp.float32),
        jnp.array(ys[:, 0], jnp.float32),
    )
    for t in range(len(xs)):
        means = members.weights @ xs[: t + 1].T
        density = np.exp(-0.5 * ((ys[: t + 1, 0] - means) / members.noise[:, None]) ** 2) / members.noise[:, None]
        weights = density[:, :t].prod(1) / density[:, :t].prod(1).sum()
        mean = weights @ means[:, t]
        np.testing.assert_allclose(prediction.mean[t], mean, rtol=1e-3)
        np.testing.assert_allclose(
            prediction.variance[t], weights @ (members.noise**2 + (means[:, t] - mean) ** 2), rtol=1e-3
        )
        np.testing.assert_allclose(
            prediction.log_density[t], np.log(weights @ density[:, t] / np.sqrt(2 * np.pi)), rtol=1e-3
        )


def test_gaussian_loss_is_minimal_at_mean_and_variance():
    targets = 2.0 + 0.5 * jax.random.normal(KEY, (2000, 1))

    def loss(mean, std):
        outputs = jnp.broadcast_to(jnp.array([mean, math.log(std)]), (2000, 2))
        return float(gaussian_losses(outputs, targets)[0].mean())

    mean, std = float(targets.mean()), float(targets.std())
    best = loss(mean, std)
    assert best == pytest.approx(math.log(std) + 0.5, abs=1e-4)
    assert best < min(loss(mean + 0.05, std), loss(mean - 0.05, std), loss(mean, 1.05 * std), loss(mean, 0.95 * std))
    np.testing.assert_allclose(mean_and_std(jnp.array([[1.0, 99.0]]))[1], np.exp(5.0), rtol=1e-5)
    np.testing.assert_array_equal(squared_errors(jnp.array([[1.0]]), jnp.array([[3.0]]))[0], [4.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearRegression(dimensions=0), "dimensions must be at least 1"),
        (lambda: LinearRegression(noises=()), "at least one noise"),
        (lambda: LinearRegression(noises=(-1.0,)), "none negative"),
        (lambda: LinearRegression(pool=0), "pool must be at least 1"),
        (lambda: LinearRegression().functions(), "functions needs a pool"),
        (lambda: PriorPredictor(1.0, (0.0,)), "all positive"),
    ],
)
def test_invalid_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
