"""Element-wise kernels, under which the parameters converge to the box |x_i| <= 1 / lambda.

Lion's kernel is `L1`. The others have the same constraint set and add a penalty inside it: a ridge, an l1 penalty, or a
smooth barrier. `distance` is measured in the maximum norm.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.sums import absolute, indicator, largest, leafwise, total
from lopt.types import PyTree


def outside_box(y: PyTree) -> Float[Array, ""]:
    """Distance of y to the box max |y_i| <= 1 in the maximum norm: max(max |y_i| - 1, 0)."""
    return jnp.maximum(largest(jnp.abs, y) - 1, 0.0)


@dataclass(frozen=True)
class L1:
    """K(m) = sum |m_i|, Lion's kernel: the map is sign(m), with sign(0) = 0.

    K*(y) is zero in the box max |y_i| <= 1, infinite outside.

    Paper: arXiv 2310.05898; Lion: arXiv 2302.06675.
    """

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: sign(m), element by element."""
        return jax.tree.map(jnp.sign, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = sum |m_i|."""
        return absolute(m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): 0 where max |y_i| <= 1, infinity elsewhere."""
        return indicator(self.distance(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the box max |y_i| <= 1 in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class Huber:
    """K(m) = sum_i h(m_i), with h(x) = x^2 / (2 delta) where |x| <= delta and |x| - delta / 2 elsewhere.

    The map is clip(m / delta, -1, 1). K*(y) = delta / 2 |y|_2^2 in the box max |y_i| <= 1: a box constraint with a
    ridge inside it. `delta = 1` is the mode "refined" of `optax.scale_by_lion`.

    Attributes:
        delta: |m_i| at which the map saturates, in units of the gradient.

    Raises:
        ValueError: a delta that is not positive.
    """

    delta: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("Huber", "delta", self.delta, above=0)

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: clip(m / delta, -1, 1)."""
        return leafwise(lambda x: jnp.clip(x / self.delta, -1, 1), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m), the sum of the Huber functions of the elements."""

        def huber(x):
            inner = jnp.minimum(jnp.abs(x), self.delta)
            return inner * inner / (2 * self.delta) + (jnp.abs(x) - inner)

        return total(huber, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): delta / 2 |y|_2^2 where max |y_i| <= 1, infinity elsewhere."""
        return indicator(outside_box(y), self.delta / 2 * total(jnp.square, y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the box max |y_i| <= 1 in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class SoftThreshold:
    """K(m) = sum max(|m_i| - threshold, 0): the map is sign(m) where |m| > threshold, else 0.

    K*(y) = threshold |y|_1 in the box max |y_i| <= 1: updates are sparse, and the l1 penalty shrinks small parameters
    to zero.

    Attributes:
        threshold: |m_i| up to which an element is not updated, in units of the gradient.

    Raises:
        ValueError: a negative threshold.
    """

    threshold: ArrayLike

    def __post_init__(self) -> None:
        check_number("SoftThreshold", "threshold", self.threshold, least=0)

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K: sign(m) where |m| > threshold, 0 elsewhere."""
        return leafwise(lambda x: jnp.where(jnp.abs(x) > self.threshold, jnp.sign(x), 0.0), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = sum max(|m_i| - threshold, 0)."""
        return total(lambda x: jnp.maximum(jnp.abs(x) - self.threshold, 0.0), m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): threshold |y|_1 where max |y_i| <= 1, infinity elsewhere."""
        return indicator(outside_box(y), self.threshold * absolute(y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the box max |y_i| <= 1 in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class LogCosh:
    """K(m) = (1/a) sum log cosh(a m_i): the map is tanh(a m).

    K*(y) = 1/(2a) sum (1 + y_i) log(1 + y_i) + (1 - y_i) log(1 - y_i) in the box max |y_i| <= 1: an entropic barrier,
    whose slope is unbounded at the boundary. It is the mode "smooth" of `optax.scale_by_lion`.

    Attributes:
        a: sharpness, in units of one over the gradient; as it grows the kernel approaches `L1`.

    Raises:
        ValueError: an a that is not positive.
    """

    a: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("LogCosh", "a", self.a, above=0)

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: tanh(a m)."""
        return leafwise(lambda x: jnp.tanh(self.a * x), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m) = (1/a) sum log cosh(a m_i), computed without overflow."""

        def log_cosh(x):
            x = jnp.abs(self.a * x)
            return (x + jnp.log1p(jnp.exp(-2 * x)) - math.log(2)) / self.a

        return total(log_cosh, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): the entropy of the class docstring where max |y_i| <= 1, infinity elsewhere."""

        def entropy(x):
            x = jnp.clip(x, -1, 1)
            return (jax.scipy.special.xlog1py(1 + x, x) + jax.scipy.special.xlog1py(1 - x, -x)) / (2 * self.a)

        return indicator(outside_box(y), total(entropy, y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the box max |y_i| <= 1 in the maximum norm."""
        return outside_box(y)


@dataclass(frozen=True)
class Relativistic:
    """K(m) = sum sqrt(m_i^2 + e^2) - e: the map is m / sqrt(m^2 + e^2), the velocity of a relativistic particle.

    K*(y) = sum e (1 - sqrt(1 - y_i^2)) in the box max |y_i| <= 1: a smooth barrier.

    Attributes:
        e: rest mass, in units of the gradient; as it goes to zero the kernel approaches `L1`.

    Raises:
        ValueError: an e that is not positive.
    """

    e: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_number("Relativistic", "e", self.e, above=0)

    def map(self, m: PyTree) -> PyTree:
        """The gradient of K: m / sqrt(m^2 + e^2)."""
        return leafwise(lambda x: x / jnp.hypot(x, jnp.asarray(self.e, x.dtype)), m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m), computed as m m / (sqrt(m^2 + e^2) + e) to avoid cancellation."""

        def energy(x):
            e = jnp.asarray(self.e, x.dtype)
            return x * (x / (jnp.hypot(x, e) + e))

        return total(energy, m)

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y): sum e (1 - sqrt(1 - y_i^2)) where max |y_i| <= 1, infinity elsewhere."""
        inside = total(lambda x: 1 - jnp.sqrt(jnp.maximum(1 - x * x, 0.0)), y)
        return indicator(outside_box(y), self.e * inside)

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance to the box max |y_i| <= 1 in the maximum norm."""
        return outside_box(y)
