"""The nuclear norm: matrices whose update is orthogonal (Muon)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from lopt.optimizers.kernels.sums import greatest, indicator, total, wide
from lopt.types import PyTree


@jax.custom_jvp
def polar(x: Float[Array, "*n rows columns"]) -> Float[Array, "*n rows columns"]:
    """U V', the orthogonal factor, by singular value decomposition; directions of singular value zero give zero."""
    return _polar(wide(x))[0].astype(x.dtype)


def _polar(x: Array) -> tuple[Array, Array, Array, Array]:
    """U V', and U, s and V' with U and V' zero where s is."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    kept = s > max(x.shape[-2:]) * jnp.finfo(s.dtype).eps * jnp.max(s, axis=-1, keepdims=True, initial=0.0)
    u, s = jnp.where(kept[..., None, :], u, 0.0), jnp.where(kept, s, 0.0)
    vt = jnp.where(kept[..., :, None], vt, 0.0)
    return u @ vt, u, s, vt


@polar.defjvp
def _polar_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    """The derivative of the polar factor, finite where singular values coincide (that of the decomposition is not).

    With A = U' dX V: U ((A - A') / (s_i + s_j)) V' + (1 - U U') dX V S^-1 V' + U S^-1 U' dX (1 - V V').
    """
    (x,), (dx,) = primals, tangents
    dx = wide(dx)
    q, u, s, vt = _polar(wide(x))
    ut, v = jnp.swapaxes(u, -1, -2), jnp.swapaxes(vt, -1, -2)
    a, sums = ut @ dx @ v, s[..., :, None] + s[..., None, :]
    turn = jnp.where(sums > 0, (a - jnp.swapaxes(a, -1, -2)) / jnp.where(sums > 0, sums, 1.0), 0.0)
    inverse = jnp.where(s > 0, 1 / jnp.where(s > 0, s, 1.0), 0.0)
    left, right = dx @ v * inverse[..., None, :], inverse[..., :, None] * (ut @ dx)
    dq = u @ turn @ vt + (left - u @ (ut @ left)) @ vt + u @ (right - (right @ v) @ vt)
    return q.astype(x.dtype), dq.astype(x.dtype)


@dataclass(frozen=True)
class Nuclear:
    """K(m) = sum of the singular values of every matrix: the map is U V', as in Muon.

    K*(y) is zero where every spectral norm is at most one, infinite elsewhere: the parameters stay in the spectral
    ball of radius 1 / lambda. Leaves are matrices `[..., rows, columns]`; leading axes are stacks of them, which may be
    spread over devices; a matrix that is split itself (by an explicit sharding) is gathered first. `distance` is in
    the spectral norm.

    Attributes:
        polar: how U V' is found: `polar` (exact, by singular value decomposition) or `NewtonSchulz()`, which is faster
            on accelerators and whose singular values are only near one. `value`, `conjugate` and `distance` are
            always exact.

    Raises:
        ValueError: a leaf that is no matrix (when the optimizer is initialised).

    Paper: arXiv 2310.05898 (K as a norm of matrices).
    Differs: Muon updates the momentum first and mixes in the gradient after, and rescales by the matrix's shape, which
        changes the radius.
    """

    polar: Callable[[Array], Array] = polar

    def map(self, m: PyTree) -> PyTree:
        """U V'."""
        self._check(m)

        def orthogonal(x):
            x = jnp.asarray(x)
            return _like(self.polar(_gathered(x)), x) if x.size else x

        return jax.tree.map(orthogonal, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        self._check(m)
        return total(_singular_values, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the unit ball, in the spectral norm."""
        self._check(y)
        return jnp.maximum(greatest(_singular_values, y) - 1, 0.0)

    def _check(self, tree: PyTree) -> None:
        for path, x in jax.tree.leaves_with_path(tree):
            if jnp.ndim(x) < 2:
                where = jax.tree_util.keystr(path)
                raise ValueError(
                    f"Nuclear: every leaf must be a matrix [..., rows, columns] (got {where} of shape {jnp.shape(x)}); "
                    "give other leaves another kernel with optax.partition"
                )


def _singular_values(x: Array) -> Array:
    return jnp.linalg.svd(_gathered(x), compute_uv=False) if x.size else jnp.zeros((0,), x.dtype)


def _gathered(x: Array) -> Array:
    """x with whole matrices on every device, where shardings are explicit and split them; stacks stay spread out."""
    there = jax.typeof(x).sharding
    if not any(there.spec[-2:]):
        return x
    return jax.sharding.reshard(x, NamedSharding(there.mesh, PartitionSpec(*there.spec[:-2], None, None)))


def _like(x: Array, other: Array) -> Array:
    """x with the sharding of `other`."""
    there = jax.typeof(other).sharding
    return x if jax.typeof(x).sharding == there else jax.sharding.reshard(x, there)
