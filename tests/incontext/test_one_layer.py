"""Single layers that implement gradient descent and least squares, and their training."""

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
from lopt.tasks import (
    DiagonalUnitaryAR,
    GaussianInputs,
    LinearRegression,
    LinearSystem,
    OneStep,
    UniformInputs,
    gradient_descent,
    ridge,
)

KEY = jax.random.key(0)
SIZES = {"inputs": 3, "targets": 2, "outputs": 2}


@functools.cache
def context(length=8):
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(length, 3)).astype(np.float32)
    ys = (xs @ rng.normal(size=(3, 2)) + 0.3 * rng.normal(size=(length, 2))).astype(np.float32)
    return jnp.array(xs), jnp.array(ys), jnp.array(np.vstack([np.zeros((1, 2)), ys[:-1]]), jnp.float32)


def test_paired_tokens_have_the_query_and_the_previous_example():
    xs, ys, ys_prev = context()
    tokens = paired_tokens(xs, ys_prev)
    np.testing.assert_array_equal(tokens[0], [*xs[0], 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(tokens[4], [*xs[4], *xs[3], *ys[3]])


def test_one_step_attention_is_a_step_of_gradient_descent():
    xs, ys, ys_prev = context()
    model = OneStepAttention(**SIZES)
    outputs = jax.jit(model.apply)(model.gradient_descent(0.7), xs, ys_prev)
    np.testing.assert_allclose(outputs, gradient_descent(xs, ys, 0.7, 1), rtol=1e-4, atol=1e-6)
    for t in range(1, len(xs)):
        weights = 0.7 / t * np.asarray(ys[:t]).T @ np.asarray(xs[:t])
        np.testing.assert_allclose(outputs[t], weights @ np.asarray(xs[t]), rtol=1e-4)


def test_autoregressive_attention_is_a_step_of_gradient_descent():
    xs = np.asarray(jax.jit(DiagonalUnitaryAR(dimensions=3, length=6).sample)(KEY))
    model = AutoregressiveAttention(3)
    outputs = jax.jit(model.apply)(model.structured(0.5, 0.6), jnp.array(xs))
    for t in range(2, 6):  # the loss 1/2 sum_{s<t} |x_{s+1} - W x_s|^2 has the gradient -sum x_{s+1} x_s^* at zero
        weights = 0.3 / (t - 1) * sum(np.outer(xs[s], xs[s - 1].conj()) for s in range(1, t))
        np.testing.assert_allclose(outputs[t - 1], weights @ xs[t - 1], rtol=1e-4, atol=1e-5)


def test_autoregressive_attention_is_causal():
    """The Jacobian of outputs with respect to inputs is lower triangular."""
    model, xs = AutoregressiveAttention(2, 0.5), jax.random.normal(KEY, (5, 2))
    jacobian = np.abs(jax.jit(jax.jacobian(lambda xs: model.apply(model.init(KEY), xs)))(xs)).sum((1, 3))
    assert (jacobian[np.triu_indices(5, 1)] == 0).all() and (jacobian[np.tril_indices(5)] > 0).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_of_few_shot_attention_are_steps_of_gradient_descent(layers):
    xs, ys, _ = context(9)
    model = FewShotAttention(inputs=3, targets=2, layers=layers)
    output = jax.jit(model.apply)(model.gradient_descent(0.4), xs[:8], ys[:8], xs[8])
    weights = np.zeros((2, 3))
    for _ in range(layers):
        residuals = np.asarray(ys[:8]) - np.asarray(xs[:8]) @ weights.T
        weights += 0.4 / 8 * residuals.T @ np.asarray(xs[:8])
    np.testing.assert_allclose(output, weights @ np.asarray(xs[8]), rtol=1e-4)


def test_few_shot_attention_implements_gd_plus_plus():
    """With positive gamma every layer also transforms the inputs."""
    xs, ys, _ = context(9)
    model, step, curvature = FewShotAttention(inputs=3, targets=2, layers=2), 0.4, 0.1
    output = jax.jit(model.apply)(model.gradient_descent(step, curvature), xs[:8], ys[:8], xs[8])
    x, q, residual, prediction = np.asarray(xs[:8]), np.asarray(xs[8]), np.asarray(ys[:8]), np.zeros(2)
    for _ in range(2):
        gram, moment = x.T @ x / 8, residual.T @ x / 8
        prediction, residual = prediction + step * moment @ q, residual - step * x @ moment.T
        x, q = x - curvature * x @ gram, q - curvature * gram @ q
    np.testing.assert_allclose(output, prediction, rtol=1e-4)


def test_mesa_layer_is_ridge_regression():
    xs, ys, ys_prev = context()
    model = MesaLayer(**SIZES)
    outputs = jax.jit(model.apply)(model.least_squares(5.0), xs, ys_prev)
    np.testing.assert_allclose(outputs, ridge(xs, ys, 1 / 5.0), rtol=1e-3, atol=1e-4)
    for t in range(1, len(xs)):
        fit = Ridge(1 / 5.0, fit_intercept=False).fit(np.asarray(xs[:t], float), np.asarray(ys[:t], float))
        np.testing.assert_allclose(outputs[t], fit.predict(np.asarray(xs[t : t + 1]))[0], rtol=1e-3, atol=1e-4)


def test_least_squares_attention_matches_the_direct_inverse():
    keys, values, queries = (jax.random.normal(jax.random.key(i), (12, size)) for i, size in enumerate((4, 2, 4)))
    outputs = jax.jit(least_squares_attention)(keys, values, queries, 3.0)
    for t in range(12):
        k, v, q = (np.asarray(x, float)[: t + 1] for x in (keys, values, queries))
        weights = v.T @ k @ np.linalg.inv(k.T @ k + np.eye(4) / 3.0)
        np.testing.assert_allclose(outputs[t], weights @ q[t], rtol=1e-3, atol=1e-4)


def test_mesa_layer_recovers_a_linear_system():
    """W is determined by d transitions, and one step of gradient descent does not recover it."""
    task = LinearSystem(dimensions=3, length=12, noise=0.0)
    mesa, linear = MesaLayer(inputs=3, targets=3, outputs=3), OneStepAttention(inputs=3, targets=3, outputs=3)

    @jax.jit
    @jax.vmap
    def errors(key):
        key_task, key_context = jax.random.split(key)
        system = task.sample(key_task)
        c = task.context(key_context, system, held_out=True)
        outputs = (
            mesa.apply(mesa.least_squares(1e4), c.xs, c.ys_prev),
            linear.apply(linear.gradient_descent(2.0), c.xs, c.ys_prev),
        )
        return tuple(task.losses(system, y, c.targets)[0] for y in outputs)

    mesa_losses, step_losses = (np.asarray(x).mean(0) for x in errors(jax.random.split(KEY, 200)))
    assert (mesa_losses[6:] < 0.01 * mesa_losses[0]).all() and (step_losses[6:] > 0.1 * step_losses[0]).all()


def test_optimal_step_size_and_its_loss():
    """In the setting of arXiv 2212.07677: d = N = 10, x uniform on an interval of width 1 or 2."""
    for width, step, loss, zero_loss in ((1.0, 6.06, 0.2062, 0.4167), (2.0, 1.515, 0.8249, 1.667)):
        theory = OneStep(dimensions=10, examples=10, inputs=UniformInputs(width))
        values = [theory.step_size, theory.loss(theory.step_size), theory.loss(0.0)]
        np.testing.assert_allclose(values, [step, loss, zero_loss], rtol=5e-4)
        assert theory.loss(theory.step_size) < min(theory.loss(1.01 * step), theory.loss(0.99 * step))


@functools.cache
def few_shot(inputs):
    """Losses and gradients of the construction with the optimal step size, on 20 000 regression tasks."""
    task, model = LinearRegression(dimensions=3, length=5, inputs=inputs), FewShotAttention(inputs=3, targets=1)
    theory = OneStep(dimensions=3, examples=4, inputs=inputs)

    def loss(theta, key):
        key_task, key_context = jax.random.split(key)
        c = task.context(key_context, task.sample(key_task), held_out=False)
        return 0.5 * jnp.square(model.apply(theta, c.xs[:4], c.targets[:4], c.xs[4]) - c.targets[4]).sum()

    losses_and_gradients = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))
    return theory, losses_and_gradients(model.gradient_descent(theory.step_size), jax.random.split(KEY, 20_000))


@pytest.mark.parametrize("inputs", [UniformInputs(2.0), GaussianInputs()], ids=["uniform", "Gaussian"])
def test_construction_has_the_closed_form_loss_and_is_stationary(inputs):
    """The loss is that of the theory, and the gradient in all weights is zero, both within Monte Carlo error."""
    theory, (losses, gradients) = few_shot(inputs)
    losses = np.asarray(losses, float)
    assert abs(losses.mean() - theory.loss(theory.step_size)) < 4 * losses.std() / np.sqrt(len(losses))
    for gradient in jax.tree.leaves(gradients):
        gradient = np.asarray(gradient, float)
        error = gradient.std(0) / np.sqrt(len(gradient))
        assert (np.abs(gradient.mean(0)) < 4.5 * error + 1e-6).all()


@pytest.mark.slow
def test_training_reaches_the_loss_of_the_optimal_step():
    """From small random weights, d = N = 10: within one per cent of the closed form."""
    task, model = (
        LinearRegression(dimensions=10, length=11, inputs=UniformInputs()),
        FewShotAttention(inputs=10, targets=1),
    )
    theory = OneStep(dimensions=10, examples=10, inputs=UniformInputs())

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
        (lambda: OneStepAttention(inputs=3, targets=2, outputs=1).gradient_descent(1.0), "outputs must equal targets"),
        (lambda: OneStepAttention(inputs=3, targets=2, outputs=2, scale=-1.0), "scale must not be negative"),
        (lambda: OneStepAttention(inputs=3, targets=0, outputs=2), "targets must be at least 1"),
        (lambda: MesaLayer(inputs=3, targets=2, outputs=2, heads=2).least_squares(1.0), "expected one head"),
        (lambda: MesaLayer(inputs=3, targets=2, outputs=2, key_size=0), "key_size must be at least 1"),
        (lambda: Paired(3, OneStepAttention(inputs=3, targets=2, outputs=2)), "inputs of width 6"),
        (lambda: FewShotAttention(inputs=3, targets=2, layers=0), "layers must be at least 1"),
        (lambda: FewShotAttention(inputs=3, targets=2, scale=-1.0), "scale must not be negative"),
        (lambda: AutoregressiveAttention(0), "dimensions >= 1"),
        (lambda: OneStep(dimensions=0, examples=1, inputs=UniformInputs()), "dimensions >= 1"),
        (lambda: LinearSystem(noise=-1.0), "noise >= 0"),
    ],
)
def test_invalid_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
