"""Trees with a shared leading axis: selection, canonical types, and mapping over selected rows."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import tree

N = 5


def test_where_selects_rows_of_every_leaf():
    mask = jnp.array([True, False])
    new = {"a": jnp.ones((2, 3)), "b": jnp.ones(2, jnp.int32)}
    old = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(2, jnp.int32)}
    selected = tree.where(mask, new, old)
    np.testing.assert_array_equal(selected["a"], [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(selected["b"], [1, 0])
    assert selected["b"].dtype == jnp.int32
    np.testing.assert_array_equal(tree.where(jnp.array(False), new, old)["a"], old["a"])
    two_axes = tree.where(jnp.array([[True, False]]), jnp.ones((1, 2, 3)), jnp.zeros((1, 2, 3)))
    np.testing.assert_array_equal(two_axes, [[[1, 1, 1], [0, 0, 0]]])


def test_take():
    data = {"a": jnp.arange(6).reshape(3, 2)}
    np.testing.assert_array_equal(tree.take(data, 1)["a"], [2, 3])
    np.testing.assert_array_equal(tree.take(data, jnp.array([2, 0]))["a"], [[4, 5], [0, 1]])


def test_canonical_removes_weak_types():
    result = tree.canonical({"a": 1.0, "b": jnp.asarray(2), "c": jnp.ones(2, jnp.int8), "d": jnp.array(True)})
    assert [x.dtype.name for x in result.values()] == ["float32", "int32", "int8", "bool"]
    assert not any(x.weak_type for x in result.values())
    assert [float(x.sum()) for x in result.values()] == [1, 2, 2, 1]
    keys = jax.random.split(jax.random.key(0), 2)
    np.testing.assert_array_equal(jax.random.key_data(tree.canonical(keys)), jax.random.key_data(keys))


@pytest.mark.parametrize("pack", [1, 2, 3, 8])
def test_masked_map_computes_the_selected_rows_only(pack):
    calls = []

    def f(key, x):
        jax.debug.callback(calls.append, x)
        # NaN for the rows that are not selected
        noise = jax.random.uniform(key)
        return {"y": jnp.log(x) + noise, "n": jnp.ceil(x)}

    keys, x = jax.random.split(jax.random.key(0), N), jnp.array([1.0, 2.0, -1.0, 3.0, -1.0])
    expected = jax.vmap(lambda k, x: jnp.log(x) + jax.random.uniform(k))(keys, x)
    init = {"y": -jnp.arange(float(N)), "n": jnp.full(N, -7, jnp.int32)}
    mapped = jax.jit(lambda mask: tree.masked_map(f, mask, init, keys, x, pack=pack))
    for selected in ([], [0], [3, 1], [0, 1, 3]):
        mask = jnp.zeros(N, bool).at[jnp.array(selected, int)].set(True)
        calls.clear()
        out = mapped(mask)
        jax.effects_barrier()
        size = min(pack, N)
        assert len(calls) == -(-len(selected) // size) * size
        np.testing.assert_allclose(out["y"], np.where(mask, expected, init["y"]), rtol=1e-6)
        np.testing.assert_array_equal(out["n"], np.where(mask, np.ceil(x), -7))
        assert out["n"].dtype == jnp.int32
        np.testing.assert_array_equal(np.asarray(out["y"])[~mask], np.asarray(init["y"])[~mask])


def test_masked_map_of_all_rows_is_vmap():
    x = jnp.arange(float(N))
    out = tree.masked_map(lambda x: (x * 2, x[None]), jnp.ones(N, bool), (x, x[:, None]), x, pack=2)
    chex.assert_trees_all_equal(out, (x * 2, x[:, None]))
