"""Unrolling compared with a Python loop, with and without rematerialisation."""

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.ad_checkpoint import checkpoint_name

from lopt.unroll import unroll

K = 3
KEY = jax.random.key(0)


def step(key, state):
    """Noise that is marked to be stored, and arithmetic that is not."""
    noise = checkpoint_name(jax.random.normal(key, state.shape), "keep")
    state = jnp.sin(state * 1.1) + 0.1 * noise
    return state, {"square": state**2}


@pytest.mark.parametrize("remat", [False, True])
def test_equals_a_python_loop(remat):
    x = jnp.array([0.3, -0.7])
    last, out = jax.jit(lambda x: unroll(step, KEY, x, K, remat=remat))(x)
    expected, squares = x, []
    for key in jax.random.split(KEY, K):
        expected, metrics = step(key, expected)
        squares.append(metrics["square"])
    chex.assert_trees_all_close(last, expected, rtol=1e-6)
    chex.assert_trees_all_close(out["square"], jnp.stack(squares), rtol=1e-6)


def test_remat_does_not_change_the_gradient():
    x = jnp.array([0.3, -0.7])

    def loss(x, remat):
        last, out = unroll(step, KEY, x, K, remat=remat)
        return last.sum() + out["square"].sum()

    stored, recomputed = (jax.jit(jax.grad(lambda x, r=r: loss(x, r)))(x) for r in (False, True))
    chex.assert_trees_all_close(stored, recomputed, rtol=1e-6)
    assert (stored != 0).all()


def test_remat_stores_what_is_marked_and_recomputes_the_rest():
    def scan_bodies(remat):
        text = str(jax.make_jaxpr(jax.grad(lambda x: unroll(step, KEY, x, K, remat=remat)[0].sum()))(jnp.ones(2)))
        return text.split(" scan[")[1:]

    forward, backward = scan_bodies(remat=True)
    assert "random_bits[" in forward and "random_bits[" not in backward
    assert " cos " in backward and " cos " not in forward
    forward, backward = scan_bodies(remat=False)
    assert " cos " in forward and " cos " not in backward
