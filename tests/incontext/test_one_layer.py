"""One layer that computes: steps of gradient descent, least squares, and what training makes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Ridge

from lopt.incontext import (
    AutoregressiveAttention,
    FewShotAttention,
    MesaLayer,
    OneStepAttention,
    Paired,
    least_squares_attention,
    paired_tokens,
)
from lopt.tasks import GaussianInputs, LinearRegression, LinearSystem, OneStep, Rotations, UniformInputs, descent, ridge

KEY = jax.random.key(0)
SIZES = {"inputs": 3, "targets": 2, "outputs": 2}


@functools.cache
def context(length=8):
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(length, 3)).astype(np.float32)
    ys = (xs @ rng.normal(size=(3, 2)) + 0.3 * rng.normal(size=(length, 2))).astype(np.float32)
    return jnp.array(xs), jnp.array(ys), jnp.array(np.vstack([np.zeros((1, 2)), ys[:-1]]), jnp.float32)


def test_tokens_pair_an_example_with_the_next_question():
    xs, ys, ys_prev = context()
    tokens = paired_tokens(xs, ys_prev)
    np.testing.assert_array_equal(tokens[0], [*xs[0], 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(tokens[4], [*xs[4], *xs[3], *ys[3]])


def test_one_step_attention_is_a_step_of_descent():
    xs, ys, ys_prev = context()
    model = OneStepAttention(**SIZES)
    found = jax.jit(model.apply)(model.descent(0.7), xs, ys_prev)
    np.testing.assert_allclose(found, descent(xs, ys, 0.7, 1), rtol=1e-4, atol=1e-6)
    for t in range(1, len(xs)):
        weights = 0.7 / t * np.asarray(ys[:t]).T @ np.asarray(xs[:t])
        np.testing.assert_allclose(found[t], weights @ np.asarray(xs[t]), rtol=1e-4)


def test_autoregressive_attention_is_a_step_of_descent():
    xs = np.asarray(jax.jit(Rotations(3, 6).sample)(KEY))
    model = AutoregressiveAttention(3)
    found = jax.jit(model.apply)(model.structured(0.5, 0.6), jnp.array(xs))
    for t in range(2, 6):  # the loss 1/2 sum_{s<t} |x_{s+1} - W x_s|^2 has the gradient -sum x_{s+1} x_s^* at zero
        weights = 0.3 / (t - 1) * sum(np.outer(xs[s], xs[s - 1].conj()) for s in range(1, t))
        np.testing.assert_allclose(found[t - 1], weights @ xs[t - 1], rtol=1e-4, atol=1e-5)


def test_autoregressive_attention_is_causal():
    """By the derivatives of every output with respect to every input."""
    model, xs = AutoregressiveAttention(2, 0.5), jax.random.normal(KEY, (5, 2))
    reach = np.abs(jax.jit(jax.jacobian(lambda xs: model.apply(model.init(KEY), xs)))(xs)).sum((1, 3))
    assert (reach[np.triu_indices(5, 1)] == 0).all() and (reach[np.tril_indices(5)] > 0).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_of_few_shot_attention_are_steps_of_descent(layers):
    xs, ys, _ = context(9)
    model = FewShotAttention(3, 2, layers)
    found = jax.jit(model.apply)(model.descent(0.4), xs[:8], ys[:8], xs[8])
    weights = np.zeros((2, 3))
    for _ in range(layers):
        residuals = np.asarray(ys[:8]) - np.asarray(xs[:8]) @ weights.T
        weights += 0.4 / 8 * residuals.T @ np.asarray(xs[:8])
    np.testing.assert_allclose(found, weights @ np.asarray(xs[8]), rtol=1e-4)


def test_evening_out_the_curvature():
    """GD++: the inputs shrink along their principal axes from layer to layer."""
    xs, ys, _ = context(9)
    model, step, curvature = FewShotAttention(3, 2, 2), 0.4, 0.1
    found = jax.jit(model.apply)(model.descent(step, curvature), xs[:8], ys[:8], xs[8])
    x, q, residual, prediction = np.asarray(xs[:8]), np.asarray(xs[8]), np.asarray(ys[:8]), np.zeros(2)
    for _ in range(2):
        gram, moment = x.T @ x / 8, residual.T @ x / 8
        prediction, residual = prediction + step * moment @ q, residual - step * x @ moment.T
        x, q = x - curvature * x @ gram, q - curvature * gram @ q
    np.testing.assert_allclose(found, prediction, rtol=1e-4)


def test_the_mesa_layer_is_ridge_regression():
    xs, ys, ys_prev = context()
    model = MesaLayer(**SIZES)
    found = jax.jit(model.apply)(model.least_squares(5.0), xs, ys_prev)
    np.testing.assert_allclose(found, ridge(xs, ys, 1 / 5.0), rtol=1e-3, atol=1e-4)
    for t in range(1, len(xs)):
        fit = Ridge(1 / 5.0, fit_intercept=False).fit(np.asarray(xs[:t], float), np.asarray(ys[:t], float))
        np.testing.assert_allclose(found[t], fit.predict(np.asarray(xs[t : t + 1]))[0], rtol=1e-3, atol=1e-4)


def test_sherman_morrison_is_the_direct_inverse():
    keys, values, queries = (jax.random.normal(jax.random.key(i), (12, size)) for i, size in enumerate((4, 2, 4)))
    found = jax.jit(least_squares_attention)(keys, values, queries, 3.0)
    for t in range(12):
        k, v, q = (np.asarray(x, float)[: t + 1] for x in (keys, values, queries))
        weights = v.T @ k @ np.linalg.inv(k.T @ k + np.eye(4) / 3.0)
        np.testing.assert_allclose(found[t], weights @ q[t], rtol=1e-3, atol=1e-4)


def test_the_mesa_layer_recovers_a_linear_system():
    """d steps show all of W; one step of descent does not."""
    task = LinearSystem(3, 12, noise=0.0)
    mesa, linear = MesaLayer(3, 3, 3), OneStepAttention(3, 3, 3)

    @jax.jit
    @jax.vmap
    def errors(key):
        key_task, key_context = jax.random.split(key)
        system = task.sample(key_task)
        c = task.context(key_context, system, held_out=True)
        outputs = (
            mesa.apply(mesa.least_squares(1e4), c.xs, c.ys_prev),
            linear.apply(linear.descent(2.0), c.xs, c.ys_prev),
        )
        return tuple(task.losses(system, y, c.targets)[0] for y in outputs)

    solved, step = (np.asarray(x).mean(0) for x in errors(jax.random.split(KEY, 200)))
    assert (solved[6:] < 0.01 * solved[0]).all() and (step[6:] > 0.1 * step[0]).all()


def test_the_best_step_in_closed_form():
    """Of arXiv 2212.07677's regression: d = N = 10, x uniform on a range of 1 or 2."""
    for width, step, loss, nothing in ((1.0, 6.06, 0.2062, 0.4167), (2.0, 1.515, 0.8249, 1.667)):
        theory = OneStep(10, 10, UniformInputs(width))
        found = [theory.step_size, theory.loss(theory.step_size), theory.loss(0.0)]
        np.testing.assert_allclose(found, [step, loss, nothing], rtol=5e-4)
        assert theory.loss(theory.step_size) < min(theory.loss(1.01 * step), theory.loss(0.99 * step))


@functools.cache
def few_shot(inputs):
    """Mean losses and gradients of the construction, a step of gradient in its weights, over 20 000 regressions."""
    task, model = LinearRegression(3, 5, inputs=inputs), FewShotAttention(3, 1)
    theory = OneStep(3, 4, inputs)

    def loss(theta, key):
        key_task, key_context = jax.random.split(key)
        c = task.context(key_context, task.sample(key_task), held_out=False)
        return 0.5 * jnp.square(model.apply(theta, c.xs[:4], c.targets[:4], c.xs[4]) - c.targets[4]).sum()

    both = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))
    return theory, both(model.descent(theory.step_size), jax.random.split(KEY, 20_000))


@pytest.mark.parametrize("inputs", [UniformInputs(2.0), GaussianInputs()], ids=["uniform", "Gaussian"])
def test_the_construction_meets_the_closed_form_and_training_would_leave_it_as_it_is(inputs):
    """The loss is that of the theory, and its gradient over all weights is zero, both within Monte-Carlo error."""
    theory, (losses, gradients) = few_shot(inputs)
    losses = np.asarray(losses, float)
    assert abs(losses.mean() - theory.loss(theory.step_size)) < 4 * losses.std() / np.sqrt(len(losses))
    for found in jax.tree.leaves(gradients):
        found = np.asarray(found, float)
        error = found.std(0) / np.sqrt(len(found))
        assert (np.abs(found.mean(0)) < 4.5 * error + 1e-6).all()


@pytest.mark.slow
def test_training_reaches_the_loss_of_the_best_step():
    """From small random weights, d = N = 10: within one per cent of the closed form."""
    task, model = LinearRegression(10, 11, inputs=UniformInputs()), FewShotAttention(10, 1)
    theory = OneStep(10, 10, UniformInputs())

    def loss(theta, key):
        key_task, key_context = jax.random.split(key)
        c = task.context(key_context, task.sample(key_task), held_out=False)
        return 0.5 * jnp.square(model.apply(theta, c.xs[:10], c.targets[:10], c.xs[10]) - c.targets[10]).sum()

    def mean_loss(theta, key, number):
        return jax.vmap(loss, (None, 0))(theta, jax.random.split(key, number)).mean()

    tx = optax.adam(optax.cosine_decay_schedule(1e-2, 2000))

    @jax.jit
    def train(key):
        theta = model.init(key)

        def step(state, key):
            theta, opt = state
            updates, opt = tx.update(jax.grad(mean_loss)(theta, key, 512), opt)
            return (optax.apply_updates(theta, updates), opt), None

        theta = jax.lax.scan(step, (theta, tx.init(theta)), jax.random.split(key, 2000))[0][0]
        return mean_loss(theta, jax.random.key(7), 400_000)

    assert float(train(KEY)) < 1.01 * theory.loss(theory.step_size)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneStepAttention(3, 2, 1).descent(1.0), "outputs must be targets"),
        (lambda: OneStepAttention(3, 2, 2, scale=-1.0), "scale must not be negative"),
        (lambda: OneStepAttention(3, 0, 2), "targets must be at least 1"),
        (lambda: MesaLayer(3, 2, 2, heads=2).least_squares(1.0), "expected one head"),
        (lambda: MesaLayer(3, 2, 2, key_size=0), "key_size must be at least 1"),
        (lambda: Paired(3, OneStepAttention(3, 2, 2)), "inputs of width 6"),
        (lambda: FewShotAttention(3, 2, 0), "layers must be at least 1"),
        (lambda: FewShotAttention(3, 2, scale=-1.0), "scale must not be negative"),
        (lambda: AutoregressiveAttention(0), "dimensions >= 1"),
        (lambda: OneStep(0, 1, UniformInputs()), "dimensions >= 1"),
        (lambda: LinearSystem(noise=-1.0), "noise >= 0"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
