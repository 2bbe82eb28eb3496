"""Kernels of parts of the elements: sums over rows, columns or whole leaves, softmax, and the k largest."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import at_least_float32, check_kernel, check_number
from lopt.optimizers.kernels.sums import absolute, indicator, largest, leafwise, resolution, root, total, unit_scale
from lopt.protocols import Kernel
from lopt.types import PyTree


@dataclass(frozen=True)
class Group:
    """K(m) = sum over groups g of |m_g|_2: the map is m_g / |m_g|_2, and 0 where a group is 0.

    K*(y) is zero where every |y_g|_2 <= 1, infinite elsewhere: an l2 ball for every group. `distance` is the largest
    over the groups, in the 2-norm.

    Attributes:
        axis: the axis, or axes, along which the elements of a group lie in every leaf: -1 for rows, 0 for the inputs of
            a neuron in a Flax kernel `[inputs, outputs]`.

    Raises:
        ValueError: a leaf without that axis (when the optimizer is initialised).
    """

    axis: int | tuple[int, ...] = -1

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: m_g / |m_g|_2 for each group, 0 for a group of zeros."""
        self._check(m)

        def unit(x):
            size, scale = self._norm(x)
            return x / scale / jnp.where(size > 0, size, 1.0)

        return leafwise(unit, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = sum_g |m_g|_2."""
        self._check(m)
        return total(lambda x: jnp.multiply(*self._norm(x)), m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where every |y_g|_2 <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """The largest distance of a group to its l2 ball: max_g max(|y_g|_2 - 1, 0)."""
        self._check(y)
        return jnp.maximum(largest(lambda x: jnp.multiply(*self._norm(x)), y) - 1, 0.0)

    def _norm(self, x: Array) -> tuple[Array, Array]:
        """The groups' norms as a pair (norm of the scaled group, scale); their product is the norm."""
        scale = unit_scale(jnp.max(jnp.abs(x), axis=self.axis, keepdims=True, initial=0.0))
        return root(jnp.sum(jnp.square(x / scale), axis=self.axis, keepdims=True)), scale

    def _check(self, tree: PyTree) -> None:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        for path, x in jax.tree.leaves_with_path(tree):
            if not all(-jnp.ndim(x) <= axis < jnp.ndim(x) for axis in axes):
                where = jax.tree_util.keystr(path)
                raise ValueError(
                    f"Group: every leaf must have the axis {self.axis} (got {where} of shape {jnp.shape(x)}); "
                    "give other leaves another kernel with optax.partition"
                )


@dataclass(frozen=True)
class PerLeaf:
    """K(m) = sum over leaves of K_0(leaf), with K_0 the given kernel: each leaf has its own map and constraint set.

    `PerLeaf(L2())` normalises the momentum of every leaf. `distance` is the largest over the leaves.

    Attributes:
        kernel: K_0, the kernel that is applied to each leaf.

    Raises:
        ValueError: an object that is not a kernel.
    """

    kernel: Kernel

    def __post_init__(self) -> None:
        check_kernel("PerLeaf", self.kernel)

    def map(self, m: PyTree) -> PyTree:
        """The given kernel's map of each leaf."""
        return jax.tree.map(self.kernel.map, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m), the sum of the given kernel's values of the leaves."""
        return sum(map(self.kernel.value, jax.tree.leaves(m)), start=jnp.zeros(()))

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y), the sum of the given kernel's conjugates of the leaves."""
        return sum(map(self.kernel.conjugate, jax.tree.leaves(y)), start=jnp.zeros(()))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """The largest of the leaves' distances; 0 for an empty tree."""
        parts = [self.kernel.distance(x) for x in jax.tree.leaves(y)]
        return jnp.max(jnp.stack(parts)) if parts else jnp.zeros(())


@dataclass(frozen=True)
class Softmax:
    """K(m) = T log sum exp(m_i / T) of the whole tree: the map is softmax(m / T), as in exponentiated-gradient steps.

    K*(y) = T sum y_i log y_i on the simplex y >= 0, sum y_i = 1; infinite elsewhere: the parameters become non-negative
    and sum to 1 / lambda, with an entropy bonus of weight T. Unlike the other kernels this one is not even: K(-m)
    differs from K(m). `distance` is in the 1-norm. `PerLeaf(Softmax())` gives every leaf its own simplex.

    Attributes:
        temperature: T, in units of the gradient.

    Raises:
        ValueError: a temperature that is not positive.
    """

    temperature: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("Softmax", "temperature", self.temperature, above=0)

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: softmax(m / T) over all elements of the tree."""
        maximum = _maximum(m)
        size = total(lambda x: jnp.exp((x - maximum) / self.temperature), m)
        return leafwise(lambda x: jnp.exp((x - maximum) / self.temperature) / size, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = T log sum exp(m_i / T), computed without overflow."""
        maximum = _maximum(m)
        return maximum + self.temperature * jnp.log(total(lambda x: jnp.exp((x - maximum) / self.temperature), m))

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): T sum y_i log y_i on the simplex, infinity elsewhere."""
        inside = total(lambda x: jax.scipy.special.xlogy(jnp.maximum(x, 0.0), jnp.maximum(x, 0.0)), y)
        return indicator(self.distance(y), self.temperature * inside)

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the simplex in the 1-norm."""
        above, below = total(lambda x: jnp.maximum(x, 0.0), y), total(lambda x: jnp.maximum(-x, 0.0), y)
        return below + jnp.abs(above - 1)


def _maximum(m: PyTree) -> Float[Array, ""]:
    parts = [jnp.max(at_least_float32(x), initial=-jnp.inf) for x in jax.tree.leaves(m)]
    return jax.lax.stop_gradient(jnp.max(jnp.stack(parts))) if parts else jnp.zeros(())


@dataclass(frozen=True)
class TopK:
    """K(m) = sum of the k largest |m_i| of the whole tree: the map is sign(m) at these elements, and 0 elsewhere.

    Elements tied with the k-th, up to rounding, share the remaining weight equally, so that the map is a subgradient.
    K*(y) is zero where max |y_i| <= 1 and |y|_1 <= k, infinite elsewhere: a box intersected with an l1 ball; k elements
    are updated per step. `distance` is in the dual norm max(|y|_inf, |y|_1 / k).

    The k-th largest value is found by bisection on the bits of the floating-point format: as many passes over the
    momentum as the format has bits, without sorting, gathering or flattening it.

    Attributes:
        k: number of elements that are updated per step.

    Raises:
        ValueError: a k below one.
    """

    k: int

    def __post_init__(self) -> None:
        check_number("TopK", "k", self.k, least=1)

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: sign(m) at the k largest |m_i|, equal shares at ties with the k-th, 0 elsewhere."""
        kth, slack = self._threshold(m), resolution(m)
        least, most = kth * (1 - slack), kth * (1 + slack)
        above, rest = total(lambda x: jnp.abs(x) > most, m), total(lambda x: jnp.abs(x) >= least, m)
        share = jnp.clip((self.k - above) / jnp.maximum(rest - above, 1.0), 0.0, 1.0)

        def subgradient(x):
            size = jnp.abs(x)
            return jnp.sign(x) * jnp.where(size > most, 1.0, jnp.where(size >= least, share, 0.0))

        return leafwise(subgradient, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m), the sum of the k largest |m_i|."""
        return total(jnp.multiply, m, self.map(jax.tree.map(at_least_float32, m)))

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where max |y_i| <= 1 and |y|_1 <= k, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the unit ball of the norm max(|y|_inf, |y|_1 / k)."""
        return jnp.maximum(jnp.maximum(largest(jnp.abs, y), absolute(y) / self.k) - 1, 0.0)

    def _threshold(self, m: PyTree) -> Float[Array, ""]:
        """The k-th largest |m_i|; 0 if there are fewer than k elements."""
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(m))
        integer = jnp.dtype(f"int{jnp.finfo(dtype).bits}")
        # the bits of floats that are not negative are ordered as the floats are
        bits = [
            jax.lax.bitcast_convert_type(jax.lax.stop_gradient(jnp.abs(x)).astype(dtype), integer)
            for x in jax.tree.leaves(m)
        ]

        def bit(i, kth):
            higher = kth | (jnp.ones((), integer) << (jnp.finfo(dtype).bits - 2 - i))
            count = sum((jnp.sum(b >= higher, dtype=jnp.int32) for b in bits), start=jnp.zeros((), jnp.int32))
            return jnp.where(count >= self.k, higher, kth)

        kth = jax.lax.fori_loop(0, jnp.finfo(dtype).bits - 1, bit, jnp.zeros((), integer))
        return jax.lax.bitcast_convert_type(kth, dtype)
