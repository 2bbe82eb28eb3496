"""The log-sum-exp kernel, under which the parameters converge to a simplex."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_number
from lopt.optimizers.kernels.sums import at_least_float32, indicator, leafwise, total
from lopt.types import PyTree


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
