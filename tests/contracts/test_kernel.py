"""Laws of every kernel: numerical checks of convex duality."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.protocols import Kernel
from tests.reference.kernels import FREE, KERNELS, MATRICES, ON_THE_BOUNDARY, matrices

for_kernels = pytest.mark.parametrize("name", KERNELS)
PAIRS = 20
SCALES = (0.0, 1e-30, 1.0, 1e30)


def dot(x, y):
    return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


def times(scale, tree):
    return jax.tree.map(lambda x: scale * x, tree)


def between(x, y, weight):
    return jax.tree.map(lambda a, b: weight * a + (1 - weight) * b, x, y)


def stack(*trees):
    return jax.tree.map(lambda *xs: jnp.stack(xs), *trees)


def unstack(tree):
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]


@functools.cache
def evaluation(name):
    """Values of a kernel's methods in float64, at pairs of random momenta."""
    kernel = KERNELS[name]

    def evaluate(m, n):
        # one call of every method, batched over the points
        y, z = unstack(jax.vmap(kernel.map)(stack(m, n)))
        inside = between(y, z, 0.3)  # interior points of the convex set
        values = jax.vmap(kernel.value)(stack(m, n, between(m, n, 0.5)))
        conjugates = jax.vmap(kernel.conjugate)(stack(y, inside, times(1.5, y)))
        distances = jax.vmap(kernel.distance)(stack(y, times(1.5, y)))
        return {
            "gap": values[0] + conjugates[0] - dot(m, y),
            "gap elsewhere": values[0] + conjugates[1] - dot(m, inside),
            "monotone": dot(between(m, times(-1.0, n), 0.5), between(y, times(-1.0, z), 0.5)),
            "convex": (values[0] + values[1]) / 2 - values[2],
            "gradient": jax.tree.map(lambda a, b: jnp.abs(a - b).max(), jax.grad(kernel.value)(m), y),
            "distance": distances[0],
            "outside": distances[1],
            "conjugate outside": conjugates[2],
        }

    def at_scale(m):
        y = kernel.map(m)
        return y, kernel.distance(y), jax.grad(lambda m: dot(kernel.map(m), matrices(3, 1.0, np.float32)))(m)

    def evaluate_all(m, n, scaled):
        return jax.vmap(evaluate)(m, n) | {"scaled": jax.vmap(at_scale)(scaled)}

    with jax.enable_x64(True):
        pairs = [stack(*(matrices(offset + i) for i in range(PAIRS))) for offset in (0, 100)]
        out = jax.jit(evaluate_all)(*pairs, stack(*(matrices(3, scale, np.float32) for scale in SCALES)))
        return jax.tree.map(np.asarray, out)


def scaled(name, scale):
    """Map, distance, and derivatives of the map at a float32 momentum of that scale."""
    return jax.tree.map(lambda x: x[SCALES.index(scale)], evaluation(name)["scaled"])


@for_kernels
def test_kernel_has_the_methods_and_hashes(name):
    kernel = KERNELS[name]
    assert isinstance(kernel, Kernel)
    assert kernel == kernel.__class__(**vars(kernel)) and hash(kernel) == hash(kernel.__class__(**vars(kernel)))


@for_kernels
def test_fenchel_young_is_an_equality_at_the_map(name):
    assert np.abs(evaluation(name)["gap"]).max() < 1e-12


@for_kernels
def test_fenchel_young_is_an_inequality_elsewhere(name):
    gaps = evaluation(name)["gap elsewhere"]
    assert np.isfinite(gaps).all() and gaps.min() >= -1e-12 and gaps.max() > 1e-3


@for_kernels
def test_the_value_is_convex_and_the_map_is_its_gradient(name):
    values = evaluation(name)
    assert values["convex"].min() >= -1e-12 and values["monotone"].min() >= -1e-12
    assert max(x.max() for x in jax.tree.leaves(values["gradient"])) < 1e-12


@for_kernels
def test_the_map_is_in_the_set_and_1_5_times_the_map_is_not(name):
    values = evaluation(name)
    assert values["distance"].max() < 1e-12
    if name in FREE:
        assert not values["outside"].any() and np.isfinite(values["conjugate outside"]).all()
    if name in ON_THE_BOUNDARY:
        np.testing.assert_allclose(values["outside"], 0.5, rtol=1e-12)
        assert np.isposinf(values["conjugate outside"]).all()


@for_kernels
def test_the_map_of_zero_is_zero(name):
    out = scaled(name, 0.0)[0]
    if name == "softmax":
        np.testing.assert_allclose(out["w"], 1 / 18, rtol=1e-6)
    else:
        assert not any(x.any() for x in jax.tree.leaves(out))


@for_kernels
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_map_has_finite_derivatives(name, scale):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(scaled(name, scale)[2]))


@for_kernels
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_momenta_stay_finite_and_in_the_set(name, scale):
    out, distance, _ = scaled(name, scale)
    assert all(np.isfinite(x).all() and x.dtype == np.float32 for x in jax.tree.leaves(out))
    assert distance < 1e-5
    if name in ON_THE_BOUNDARY:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), out, scaled(name, 1.0)[0])


@for_kernels
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_map_keeps_structure_shapes_and_types(name, dtype):
    m = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), matrices(0) | {"none": None})
    m |= {"no rows": jax.ShapeDtypeStruct((0, 3), dtype)}
    if name not in MATRICES:
        m |= {"vector": jax.ShapeDtypeStruct((4,), dtype), "scalar": jax.ShapeDtypeStruct((), dtype)}
    out = jax.eval_shape(KERNELS[name].map, m)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), out) == jax.tree.map(lambda x: (x.shape, x.dtype), m)
    for method in (KERNELS[name].value, KERNELS[name].conjugate, KERNELS[name].distance):
        scalar = jax.eval_shape(method, m)
        assert scalar.shape == () and scalar.dtype == jnp.float32


@for_kernels
def test_an_empty_tree_is_accepted(name):
    kernel = KERNELS[name]
    assert kernel.map({}) == {}
    if name != "softmax":  # the simplex of zero elements is empty
        assert kernel.value({}) == kernel.conjugate({}) == kernel.distance({}) == 0
