"""Kernels that treat parts of the tree apart: rows or neurons of a leaf, or the leaves."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_kernel
from lopt.optimizers.kernels.sums import greatest, indicator, leafwise, root, total, unit_scale
from lopt.protocols import Kernel
from lopt.types import PyTree


@dataclass(frozen=True)
class Group:
    """K(m) = sum over groups g of |m_g|_2: the map is m_g / |m_g|_2, and 0 where a group is 0.

    K*(y) is zero where every |y_g|_2 <= 1, infinite elsewhere: a ball for every group. `distance` is that of the
    group that is farthest out, in the 2-norm.

    Attributes:
        axis: the axis, or axes, along which a group lies in every leaf: -1 for rows, 0 for the inputs of a neuron in
            a Flax kernel `[inputs, outputs]`.

    Raises:
        ValueError: a leaf without that axis (when the optimizer is initialised).
    """

    axis: int | tuple[int, ...] = -1

    def map(self, m: PyTree) -> PyTree:
        """m_g / |m_g|_2."""
        self._check(m)

        def unit(x):
            size, scale = self._norm(x)
            return x / scale / jnp.where(size > 0, size, 1.0)

        return leafwise(unit, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        self._check(m)
        return total(lambda x: jnp.multiply(*self._norm(x)), m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Of the group that is farthest out, in the 2-norm."""
        self._check(y)
        return jnp.maximum(greatest(lambda x: jnp.multiply(*self._norm(x)), y) - 1, 0.0)

    def _norm(self, x: Array) -> tuple[Array, Array]:
        """The groups' norms, as a number near one and a scale."""
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
    """K(m) = sum over leaves of the kernel's K: every leaf has a map, and a constraint set, of its own.

    `PerLeaf(L2())` normalises the momentum of every leaf. `distance` is that of the leaf that is farthest out.

    Attributes:
        kernel: what is applied to each leaf.

    Raises:
        ValueError: no kernel.
    """

    kernel: Kernel

    def __post_init__(self) -> None:
        check_kernel("PerLeaf", self.kernel)

    def map(self, m: PyTree) -> PyTree:
        """The kernel's map of each leaf."""
        return jax.tree.map(self.kernel.map, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return sum(map(self.kernel.value, jax.tree.leaves(m)), start=jnp.zeros(()))

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return sum(map(self.kernel.conjugate, jax.tree.leaves(y)), start=jnp.zeros(()))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Of the leaf that is farthest out."""
        parts = [self.kernel.distance(x) for x in jax.tree.leaves(y)]
        return jnp.max(jnp.stack(parts)) if parts else jnp.zeros(())
