"""The Transformer: a reference implementation in NumPy, its sizes, and invalid arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.incontext import Transformer
from lopt.incontext.attention import _softmax

SIZES = {"inputs": 3, "targets": 2, "outputs": 4, "positions": 6, "width": 8, "layers": 2, "heads": 2}


def reference(theta, xs, ys_prev, heads):
    """The forward pass in NumPy, with loops over positions and heads."""
    theta = jax.tree.map(np.asarray, theta)

    def dense(name, x):
        layer = theta[name] if isinstance(name, str) else theta[name[0]][name[1]]
        return x @ layer["kernel"] + layer.get("bias", 0)

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * theta[name]["scale"] + theta[name]["bias"]

    u = dense("embed", np.concatenate([xs, ys_prev], -1)) + theta["position"][: len(xs)]
    for i in range(2):
        qs, ks, vs = np.split(dense((f"mix_{i}", "attend"), norm(f"norm_mix_{i}", u)), 3, -1)
        attended = np.zeros_like(qs)
        size = qs.shape[1] // heads
        for t in range(len(xs)):
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                weights = np.exp(ks[: t + 1, part] @ qs[t, part] / np.sqrt(size))
                attended[t, part] = weights / weights.sum() @ vs[: t + 1, part]
        u = u + dense((f"mix_{i}", "read"), attended)
        hidden = np.asarray(jax.nn.gelu(jnp.asarray(dense(f"hidden_{i}", norm(f"norm_hidden_{i}", u)))))
        u = u + dense(f"out_{i}", hidden)
    return dense("head", norm("norm_head", u))


def test_forward_pass_matches_numpy():
    model = Transformer(**SIZES)
    theta = jax.jit(model.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    xs, ys_prev = (rng.normal(size=(5, width)).astype(np.float32) for width in (3, 2))
    outputs = jax.jit(model.apply)(theta, xs, ys_prev)
    np.testing.assert_allclose(outputs, reference(theta, xs, ys_prev, 2), rtol=1e-4, atol=1e-5)


def test_custom_softmax_derivative_matches_jax():
    x, weight = jax.random.normal(jax.random.key(0), (2, 3, 4))
    gradient, expected = (jax.grad(lambda x, f=f: (weight * f(x)).sum())(x) for f in (_softmax, jax.nn.softmax))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_sequence_longer_than_positions_raises():
    model = Transformer(**SIZES)
    with pytest.raises(ValueError, match="has 7 examples, the model has 6 positions"):
        jax.eval_shape(
            lambda key: model.apply(model.init(key), jnp.zeros((7, 3)), jnp.zeros((7, 2))), jax.random.key(0)
        )


@pytest.mark.parametrize("name", ["inputs", "targets", "outputs", "positions", "layers", "heads", "key_size"])
def test_sizes_below_one_raise(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        Transformer(**SIZES | {name: 0})


def test_heads_divide_the_width_or_key_size_is_given():
    with pytest.raises(ValueError, match="heads must divide width"):
        Transformer(**SIZES | {"heads": 3})
    assert Transformer(**SIZES | {"heads": 3, "key_size": 5}).state_size(6) == 2 * 2 * 3 * 5 * 6
    assert Transformer(**SIZES).state_size(6) == 2 * 2 * 8 * 6
