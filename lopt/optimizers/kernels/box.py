"""Kernels that work element by element and keep the parameters in a box: |x_i| <= 1 / lambda.

Lion's own is `L1`. The others have the same set and differ inside it: a ridge, sparsity, or a smooth barrier.
`distance` is in the maximum norm.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.sums import absolute, greatest, indicator, leafwise, total
from lopt.types import PyTree


def outside_box(y: PyTree) -> Float[Array, ""]:
    """How far the greatest |y_i| is above one."""
    return jnp.maximum(greatest(jnp.abs, y) - 1, 0.0)


@dataclass(frozen=True)
class L1:
    """K(m) = sum |m_i|, Lion's kernel: the map is sign(m), with sign(0) = 0.

    K*(y) is zero in the box max |y_i| <= 1, infinite outside.

    Paper: arXiv 2310.05898; Lion: arXiv 2302.06675.
    """

    def map(self, m: PyTree) -> PyTree:
        """sign(m)."""
        return jax.tree.map(jnp.sign, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return absolute(m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the box, in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class Huber:
    """K(m) = sum m_i^2 / (2 delta) where |m_i| <= delta, |m_i| - delta / 2 elsewhere.

    The map is clip(m / delta, -1, 1). K*(y) = delta / 2 |y|_2^2 in the box: a box, and a ridge inside it. `delta = 1`
    is the mode "refined" of `optax.scale_by_lion`.

    Attributes:
        delta: where the map saturates, in the unit of the gradient.

    Raises:
        ValueError: a delta that is not positive.
    """

    delta: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("Huber", "delta", self.delta, above=0)

    def map(self, m: PyTree) -> PyTree:
        """clip(m / delta, -1, 1)."""
        return leafwise(lambda x: jnp.clip(x / self.delta, -1, 1), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""

        def huber(x):
            inner = jnp.minimum(jnp.abs(x), self.delta)
            return inner * inner / (2 * self.delta) + (jnp.abs(x) - inner)

        return total(huber, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(outside_box(y), self.delta / 2 * total(jnp.square, y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the box, in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class SoftThreshold:
    """K(m) = sum max(|m_i| - threshold, 0): the map is sign(m) where |m| > threshold, else 0.

    K*(y) = threshold |y|_1 in the box: updates are sparse, and small parameters are drawn to zero.

    Attributes:
        threshold: in the unit of the gradient.

    Raises:
        ValueError: a negative threshold.
    """

    threshold: ArrayLike

    def __post_init__(self) -> None:
        check_number("SoftThreshold", "threshold", self.threshold, least=0)

    def map(self, m: PyTree) -> PyTree:
        """sign(m) where |m| > threshold."""
        return leafwise(lambda x: jnp.where(jnp.abs(x) > self.threshold, jnp.sign(x), 0.0), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        return total(lambda x: jnp.maximum(jnp.abs(x) - self.threshold, 0.0), m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(outside_box(y), self.threshold * absolute(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the box, in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class LogCosh:
    """K(m) = (1/a) sum log cosh(a m_i): the map is tanh(a m).

    K*(y) = 1/(2a) sum (1 + y) log(1 + y) + (1 - y) log(1 - y) in the box: an entropy, a barrier whose slope grows
    without bound at the walls. It is the mode "smooth" of `optax.scale_by_lion`.

    Attributes:
        a: sharpness, in one over the unit of the gradient; large values approach `L1`.

    Raises:
        ValueError: an a that is not positive.
    """

    a: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("LogCosh", "a", self.a, above=0)

    def map(self, m: PyTree) -> PyTree:
        """tanh(a m)."""
        return leafwise(lambda x: jnp.tanh(self.a * x), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""

        def log_cosh(x):
            x = jnp.abs(self.a * x)
            return (x + jnp.log1p(jnp.exp(-2 * x)) - math.log(2)) / self.a

        return total(log_cosh, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""

        def entropy(x):
            x = jnp.clip(x, -1, 1)
            return (jax.scipy.special.xlog1py(1 + x, x) + jax.scipy.special.xlog1py(1 - x, -x)) / (2 * self.a)

        return indicator(outside_box(y), total(entropy, y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the box, in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class Relativistic:
    """K(m) = sum sqrt(m_i^2 + e^2) - e: the map is m / sqrt(m^2 + e^2), a velocity below that of light.

    K*(y) = sum e (1 - sqrt(1 - y_i^2)) in the box: a smooth barrier.

    Attributes:
        e: the rest mass, in the unit of the gradient; small values approach `L1`.

    Raises:
        ValueError: an e that is not positive.
    """

    e: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("Relativistic", "e", self.e, above=0)

    def map(self, m: PyTree) -> PyTree:
        """m / sqrt(m^2 + e^2)."""
        return leafwise(lambda x: x / jnp.hypot(x, jnp.asarray(self.e, x.dtype)), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m), as m m / (sqrt(m^2 + e^2) + e), which does not cancel."""

        def energy(x):
            e = jnp.asarray(self.e, x.dtype)
            return x * (x / (jnp.hypot(x, e) + e))

        return total(energy, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        inside = total(lambda x: 1 - jnp.sqrt(jnp.maximum(1 - x * x, 0.0)), y)
        return indicator(outside_box(y), self.e * inside)

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the box, in the maximum norm."""
        return outside_box(y)
