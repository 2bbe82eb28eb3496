"""Kernels of norms and of squares of norms: of all elements, and of matrices (the nuclear norm, with polar factors by
Newton-Schulz iterations, as in Muon).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import at_least_float32, check_number
from lopt.optimizers.kernels.groups import Group
from lopt.optimizers.kernels.sums import (
    absolute,
    indicator,
    largest,
    leafwise,
    norm,
    resolution,
    root,
    total,
    unit_scale,
)
from lopt.types import PyTree


@dataclass(frozen=True)
class Lp:
    """K(m) = |m|_p, 1 < p < infinity: the map is sign(m) |m|^(p-1) / |m|_p^(p-1), and 0 at 0.

    K*(y) is zero in the ball |y|_q <= 1 with q = p / (p - 1), infinite outside. For p near 1 the kernel is close to
    `L1`; for p > 2 the largest elements get the largest updates. `distance` is in the q-norm.

    Attributes:
        p: the exponent.

    Raises:
        ValueError: a p that is not above 1 (use `L1` for 1 and `LInf` for infinity).
    """

    p: ArrayLike

    def __post_init__(self) -> None:
        check_number("Lp", "p", self.p, above=1)

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: sign(m) (|m| / |m|_p)^(p-1)."""
        scale = unit_scale(largest(jnp.abs, m))
        relative = jax.tree.map(lambda x: x / scale, m)
        size = norm(relative, self.p)
        size = jnp.where(size > 0, size, 1.0)
        return jax.tree.map(
            lambda x, like: (jnp.sign(x) * root(jnp.abs(x) / size, self.p - 1)).astype(jnp.asarray(like).dtype),
            relative,
            m,
        )

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_p of the whole tree."""
        return norm(m, self.p)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where |y|_q <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the unit ball in the q-norm: max(|y|_q - 1, 0)."""
        return jnp.maximum(norm(y, self.p / (self.p - 1)) - 1, 0.0)


@dataclass(frozen=True)
class L2:
    """K(m) = |m|_2 of the whole tree: the map is m / |m|_2 (normalised momentum), and 0 at 0.

    K*(y) is zero in the ball |y|_2 <= 1, infinite outside.
    """

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: m / |m|_2."""
        scale = unit_scale(largest(jnp.abs, m))
        size = root(total(lambda x: jnp.square(x / scale), m))
        size = jnp.where(size > 0, size, 1.0)
        return leafwise(lambda x: x / scale / size, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_2 of the whole tree."""
        return norm(m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where |y|_2 <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the unit ball in the 2-norm: max(|y|_2 - 1, 0)."""
        return jnp.maximum(norm(y) - 1, 0.0)


@dataclass(frozen=True)
class LInf:
    """K(m) = max |m_i| of the whole tree: the map is sign(m_i) / count at the `count` largest |m_i|, which are tied.

    K*(y) is zero in the cross-polytope |y|_1 <= 1, infinite outside: greedy coordinate descent. `distance` is in the
    1-norm.
    """

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: sign(m) where |m| is largest, divided by the number of such elements; 0 elsewhere."""
        level = largest(jnp.abs, m) * (1 - resolution(m))
        count = jnp.maximum(total(lambda x: jnp.abs(x) >= level, m), 1.0)
        return leafwise(lambda x: jnp.where(jnp.abs(x) >= level, jnp.sign(x) / count, 0.0), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = max |m_i| of the whole tree."""
        return largest(jnp.abs, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where |y|_1 <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the cross-polytope in the 1-norm: max(|y|_1 - 1, 0)."""
        return jnp.maximum(absolute(y) - 1, 0.0)


@dataclass(frozen=True)
class HalfSquare:
    """K(m) = |m|_2^2 / 2: the map is m, which is momentum SGD with decoupled decay.

    K*(y) = |y|_2^2 / 2 everywhere: the decay is a ridge, lambda / 2 |x|_2^2.
    """

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: m itself."""
        return m

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_2^2 / 2."""
        return total(jnp.square, m) / 2

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y) = |y|_2^2 / 2."""
        return total(jnp.square, y) / 2

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Always 0: K* is finite everywhere."""
        return jnp.zeros(())


@dataclass(frozen=True)
class HalfL1Square:
    """K(m) = |m|_1^2 / 2 of the whole tree: the map is |m|_1 sign(m), steepest descent in the maximum norm.

    K*(y) = max |y_i|^2 / 2 everywhere: the decay penalises the square of the largest parameter.
    """

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: |m|_1 sign(m)."""
        size = absolute(m)
        return leafwise(lambda x: size * jnp.sign(x), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = |m|_1^2 / 2."""
        return jnp.square(absolute(m)) / 2

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y) = max |y_i|^2 / 2."""
        return jnp.square(largest(jnp.abs, y)) / 2

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Always 0: K* is finite everywhere."""
        return jnp.zeros(())


@dataclass(frozen=True)
class Quadratic:
    """K(m) = m' P m / 2 with a symmetric positive definite P: the map is P m, preconditioned momentum.

    K*(y) = y' P^-1 y / 2 everywhere. P is given as two functions, so that it can be diagonal, a Kronecker product or
    dense: `Quadratic(lambda m: jax.tree.map(jnp.multiply, d, m), lambda y: jax.tree.map(jnp.divide, y, d))`.

    Attributes:
        apply: m -> P m, a tree like m.
        solve: y -> P^-1 y, a tree like y; only `conjugate` uses it.
    """

    apply: Callable[[PyTree], PyTree]
    solve: Callable[[PyTree], PyTree]

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: P m, in the type of m."""
        return jax.tree.map(lambda p, x: p.astype(jnp.asarray(x).dtype), self.apply(m), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = m' P m / 2."""
        return total(jnp.multiply, m, self.apply(m)) / 2

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y) = y' P^-1 y / 2."""
        return total(jnp.multiply, y, self.solve(y)) / 2

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Always 0: K* is finite everywhere."""
        return jnp.zeros(())


@dataclass(frozen=True)
class NewtonSchulz:
    """Iterates X <- a X + b (X X') X + c (X X')^2 X from X / |X|_F, which drives every singular value towards one.

    Use it as `Nuclear(polar=NewtonSchulz())`. The products are computed in the type of X (the method is designed for
    bfloat16).

    Attributes:
        steps: number of iterations.
        coefficients: a, b, c. The default has the largest slope at zero and does not converge: singular values end in
            about [0.68, 1.13], very small ones below that. (15/8, -5/4, 3/8) converges to one, more slowly.

    Raises:
        ValueError: fewer than one step.

    Paper: K. Jordan and others, Muon, 2024 (the coefficients).
    """

    steps: int = 5
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)

    def __post_init__(self) -> None:
        check_number("NewtonSchulz", "steps", self.steps, least=1)

    def __call__(self, x: Float[Array, "*n rows columns"]) -> Float[Array, "*n rows columns"]:
        """An approximation of the polar factor U V' of each matrix, in the type of x."""
        tall = x.shape[-2] > x.shape[-1]
        x = jnp.swapaxes(x, -1, -2) if tall else x
        x = Group(axis=(-2, -1)).map(x)
        a, b, c = self.coefficients
        for _ in range(self.steps):
            square = x @ jnp.swapaxes(x, -1, -2)
            x = a * x + (b * square + c * square @ square) @ x
        return jnp.swapaxes(x, -1, -2) if tall else x


@jax.custom_jvp
def polar(x: Float[Array, "*n rows columns"]) -> Float[Array, "*n rows columns"]:
    """The orthogonal polar factor U V' of each matrix, by singular value decomposition.

    Singular vectors whose singular value is zero up to rounding contribute zero.
    """
    return _polar(at_least_float32(x))[0].astype(x.dtype)


def _polar(x: Array) -> tuple[Array, Array, Array, Array]:
    """U V', and U, s and V', with the columns of U and the rows of V' set to zero where s is zero up to rounding."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    kept = s > max(x.shape[-2:]) * jnp.finfo(s.dtype).eps * jnp.max(s, axis=-1, keepdims=True, initial=0.0)
    u, s = jnp.where(kept[..., None, :], u, 0.0), jnp.where(kept, s, 0.0)
    vt = jnp.where(kept[..., :, None], vt, 0.0)
    return u @ vt, u, s, vt


@polar.defjvp
def _polar_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    """Derivative of the polar factor; finite where singular values coincide, unlike that of the decomposition.

    With A = U' dX V: U ((A - A') / (s_i + s_j)) V' + (1 - U U') dX V S^-1 V' + U S^-1 U' dX (1 - V V').
    """
    (x,), (dx,) = primals, tangents
    dx = at_least_float32(dx)
    q, u, s, vt = _polar(at_least_float32(x))
    ut, v = jnp.swapaxes(u, -1, -2), jnp.swapaxes(vt, -1, -2)
    a, sums = ut @ dx @ v, s[..., :, None] + s[..., None, :]
    skew = jnp.where(sums > 0, (a - jnp.swapaxes(a, -1, -2)) / jnp.where(sums > 0, sums, 1.0), 0.0)
    inverse = jnp.where(s > 0, 1 / jnp.where(s > 0, s, 1.0), 0.0)
    left, right = dx @ v * inverse[..., None, :], inverse[..., :, None] * (ut @ dx)
    dq = u @ skew @ vt + (left - u @ (ut @ left)) @ vt + u @ (right - (right @ v) @ vt)
    return q.astype(x.dtype), dq.astype(x.dtype)


@dataclass(frozen=True)
class Nuclear:
    """K(m) = sum of the singular values of every matrix: the map is U V', as in Muon.

    K*(y) is zero where every spectral norm is at most one, infinite elsewhere: the parameters converge to the spectral
    ball of radius 1 / lambda. Leaves are matrices `[..., rows, columns]`; leading axes are batch axes, which may be
    sharded over devices. A matrix whose own axes are sharded (explicitly) is gathered first. `distance` is in the
    spectral norm.

    Attributes:
        polar: function that computes U V': `polar` (exact, by singular value decomposition) or `NewtonSchulz()`, which
            is faster on accelerators and whose singular values are only near one. `value`, `conjugate` and `distance`
            are always exact.

    Raises:
        ValueError: a leaf that is no matrix (when the optimizer is initialised).

    Paper: arXiv 2310.05898 (K as a norm of matrices).
    Differs: Muon updates the momentum before it mixes in the gradient, and rescales by the matrix's shape, which
        changes the radius.
    """

    polar: Callable[[Array], Array] = polar

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: the polar factor U V' of each matrix."""
        self._check(m)

        def orthogonal(x):
            x = jnp.asarray(x)
            return _like(self.polar(_gathered(x)), x) if x.size else x

        return jax.tree.map(orthogonal, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m), the sum of all singular values of all matrices."""
        self._check(m)
        return total(_singular_values, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where every spectral norm is at most 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the unit ball in the spectral norm: max(largest singular value - 1, 0)."""
        self._check(y)
        return jnp.maximum(largest(_singular_values, y) - 1, 0.0)

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
    """x with its last two axes replicated on every device, where an explicit sharding splits them; batch axes stay
    sharded."""
    sharding = jax.typeof(x).sharding
    if not any(sharding.spec[-2:]):
        return x
    return jax.sharding.reshard(x, NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:-2], None, None)))


def _like(x: Array, other: Array) -> Array:
    """x with the sharding of `other`."""
    sharding = jax.typeof(other).sharding
    return x if jax.typeof(x).sharding == sharding else jax.sharding.reshard(x, sharding)
