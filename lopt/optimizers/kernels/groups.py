"""Kernels that are sums over groups of elements: rows or columns of a leaf, or whole leaves."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_kernel
from lopt.optimizers.kernels.sums import indicator, largest, leafwise, root, total, unit_scale
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
