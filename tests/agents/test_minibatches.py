"""Minibatches: every transition once per epoch, in random orders, compared with a Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import MinibatchEpochs
from lopt.agents.rollout import permutation

T, B, EPOCHS, MINIBATCHES = 6, 4, 3, 8
A = np.arange(T * B, dtype=np.float32).reshape(T, B)
BATCH = {"a": jnp.array(A), "b": jnp.array(np.stack([A % B, A], -1))}


@jax.jit
def run(key):
    """The last state, and every minibatch."""

    def step(state, minibatch):
        return 0.9 * state + jnp.sin(minibatch["a"]).sum(), minibatch

    return MinibatchEpochs(EPOCHS, MINIBATCHES)(key, step, jnp.zeros(()), BATCH)


def test_every_transition_is_used_once_per_epoch():
    _, minibatches = run(jax.random.key(0))
    assert minibatches["a"].shape == (EPOCHS * MINIBATCHES, 1, T * B // MINIBATCHES)
    assert minibatches["b"].shape == (*minibatches["a"].shape, 2)
    np.testing.assert_array_equal(minibatches["b"][..., 0], np.asarray(minibatches["a"]) % B)
    orders = np.asarray(minibatches["a"]).reshape(EPOCHS, -1)
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(T * B))
    assert len({tuple(order) for order in (*orders, *np.asarray(run(jax.random.key(1))[1]["a"]).reshape(3, -1))}) == 6


def test_it_equals_a_python_loop():
    state, minibatches = run(jax.random.key(0))
    expected = 0.0
    for minibatch in np.asarray(minibatches["a"])[:, 0]:
        expected = 0.9 * expected + np.sin(minibatch).sum()
    np.testing.assert_allclose(state, expected, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_a_permutation_has_every_number_once(size):
    result = jax.jit(permutation, static_argnums=1)(jax.random.key(3), size)
    assert result.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(result), np.arange(size))


def test_every_order_is_equally_likely():
    orders = jax.jit(jax.vmap(lambda key: permutation(key, 4)))(jax.random.split(jax.random.key(0), 12_000))
    counts = np.unique(np.asarray(orders) @ 4 ** np.arange(4), return_counts=True)[1]
    assert len(counts) == 24
    # a chi-squared variable with 23 degrees of freedom exceeds 58.6 with probability 6e-5
    assert ((counts - 500) ** 2 / 500).sum() < 58.6


def test_bad_values():
    for name in ("num_epochs", "num_minibatches"):
        with pytest.raises(ValueError, match=f"MinibatchEpochs: {name}"):
            MinibatchEpochs(**{name: 0})
    with pytest.raises(ValueError, match="must divide the 6 x 4 transitions"):
        MinibatchEpochs(1, 5)(jax.random.key(0), lambda s, x: (s, {}), 0, BATCH)
