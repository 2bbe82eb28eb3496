"""Policies: sampling, closed forms, and extreme logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import policies
from lopt.types import Gaussian
from tests.reference import naive

EXTREME = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]])
sample = jax.jit(policies.sample)


@jax.jit
def all_functions(x, y, action):
    return policies.log_prob(x, action), policies.entropy(x), policies.kl(x, y)


def logits(seed=0, shape=(4, 3, 5)):
    return np.random.default_rng(seed).normal(0, 2, shape)


def test_sample_frequencies_match_the_probabilities():
    p, num = np.array([0.5, 0.02, 0.18, 0.3]), 20_000
    actions = sample(jax.random.key(0), jnp.broadcast_to(jnp.log(p) + 3.0, (num, 4)).astype(jnp.float32))
    counts = np.bincount(actions, minlength=4)
    assert actions.dtype == jnp.int32
    # a chi-squared variable with three degrees of freedom exceeds 27.9 with probability 4e-6
    assert ((counts - num * p) ** 2 / (num * p)).sum() < 27.9


def test_samples_of_different_rows_and_keys_are_independent():
    logits = jnp.zeros((4000, 2))
    a, b = (np.asarray(sample(jax.random.key(k), logits)) for k in (0, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.08
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.08


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-23])
def test_actions_of_probability_zero_are_never_sampled(uniform, monkeypatch):
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, uniform, jnp.float32))
    rng = np.random.default_rng(1)
    impossible = rng.random((500, 6)) < 0.5
    impossible[np.arange(500), rng.integers(6, size=500)] = False
    rows = jnp.array(np.where(impossible, -1e4, rng.normal(size=(500, 6))), jnp.float32)
    actions = np.asarray(jax.jit(lambda rows: policies.sample(jax.random.key(0), rows))(rows))
    assert not impossible[np.arange(500), actions].any()


def test_extreme_logits_sample_the_action_of_probability_one():
    actions = sample(jax.random.key(0), jnp.broadcast_to(EXTREME[0], (1000, 3)))
    np.testing.assert_array_equal(actions, np.zeros(1000))


def test_closed_forms():
    x, y = logits(0), logits(1)
    action = np.random.default_rng(2).integers(5, size=x.shape[:-1])
    p, q = naive.softmax(x), naive.softmax(y)
    entropy, kl = -(p * np.log(p)).sum(-1), (p * np.log(p / q)).sum(-1)
    log_prob = np.log(np.take_along_axis(p, action[..., None], -1)[..., 0])
    values = all_functions(jnp.array(x, jnp.float32), jnp.array(y, jnp.float32), jnp.array(action))
    for value, expected in zip(values, (log_prob, entropy, kl), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    uniform = all_functions(jnp.zeros(x.shape), jnp.full(x.shape, 3.0), jnp.array(action))
    for value, expected in zip(uniform, (-np.log(5), np.log(5), 0), strict=True):
        np.testing.assert_allclose(value, np.full(kl.shape, expected), rtol=1e-6, atol=1e-6)


def test_gradients_are_finite_at_extreme_logits():
    action, other = jnp.array([1, 2, 2]), EXTREME[:, ::-1]

    def total(x, y):
        return sum(value.sum() for value in all_functions.__wrapped__(x, y, action))

    value, grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(EXTREME, other)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in grads)


def test_score_function_gradient():
    x, action = jnp.array(logits(3, (6, 4)), jnp.float32), jnp.array([0, 1, 2, 3, 0, 1])
    grads = jax.jit(jax.grad(lambda x: policies.log_prob(x, action).sum()))(x)
    np.testing.assert_allclose(grads, np.eye(4)[action] - naive.softmax(np.asarray(x)), rtol=1e-5, atol=1e-6)


def gaussian(seed=4, shape=(4, 3)):
    rng = np.random.default_rng(seed)
    return Gaussian(*(jnp.array(rng.normal(0, 0.7, shape), jnp.float32) for _ in range(2)))


def test_gaussian_closed_forms():
    policy = gaussian()
    action = np.random.default_rng(5).normal(size=policy.mean.shape)
    mean, std = np.float64(policy.mean), np.exp(np.float64(policy.log_std))
    density = np.exp(-(((action - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    log_prob = jax.jit(policies.log_prob)(policy, jnp.array(action, jnp.float32))
    assert log_prob.shape == (4,)
    np.testing.assert_allclose(log_prob, np.log(density).sum(-1), rtol=1e-4, atol=1e-5)
    # H = - E[log pi], by quadrature for each entry
    z = np.linspace(-8, 8, 4001)
    p = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    unit = -(p * np.log(p)).sum() * (z[1] - z[0])
    np.testing.assert_allclose(jax.jit(policies.entropy)(policy), (unit + np.log(std)).sum(-1), rtol=1e-4)


def test_gaussian_score_function():
    policy = gaussian()
    action = jnp.array(np.random.default_rng(6).normal(size=policy.mean.shape), jnp.float32)
    grads = jax.jit(jax.grad(lambda p: policies.log_prob(p, action).sum()))(policy)
    z = (np.asarray(action) - policy.mean) / np.exp(policy.log_std)
    np.testing.assert_allclose(grads.mean, z / np.exp(policy.log_std), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads.log_std, z**2 - 1, rtol=1e-4, atol=1e-5)


def test_gaussian_samples():
    policy = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], (20_000, 3)), gaussian())
    actions = np.asarray(sample(jax.random.key(1), policy))
    assert actions.shape == (20_000, 3) and actions.dtype == np.float32
    std = np.exp(np.asarray(policy.log_std[0]))
    np.testing.assert_allclose(actions.mean(0), policy.mean[0], atol=0.03 * std.max())
    np.testing.assert_allclose(actions.std(0), std, rtol=0.02)
    assert np.abs(np.corrcoef(actions.T) - np.eye(3)).max() < 0.03


def test_clip_action_clips_real_actions_only():
    np.testing.assert_array_equal(policies.clip_action(jnp.array([-3.0, 0.25, 1.5])), [-1, 0.25, 1])
    index = jnp.array([0, 5, -2])
    assert policies.clip_action(index) is index
