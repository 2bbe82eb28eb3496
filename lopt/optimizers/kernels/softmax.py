"""The log-sum-exp kernel: parameters on a simplex."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.optimizers.kernels.sums import indicator, leafwise, total, wide
from lopt.types import PyTree


@dataclass(frozen=True)
class Softmax:
    """K(m) = log sum exp(m_i) of the whole tree: the map is softmax(m), a step of mirror-descent type.

    K*(y) = sum y_i log y_i on the simplex y >= 0, sum y_i = 1; infinite elsewhere: the parameters become
    non-negative and sum to 1 / lambda. Unlike the others this kernel is not even: it tells up from down. `distance`
    is in the 1-norm. `PerLeaf(Softmax())` gives every leaf a simplex of its own.
    """

    def map(self, m: PyTree) -> PyTree:
        """softmax(m)."""
        big = self._greatest(m)
        size = total(lambda x: jnp.exp(x - big), m)
        return leafwise(lambda x: jnp.exp(x - big) / size, m)

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        big = self._greatest(m)
        return big + jnp.log(total(lambda x: jnp.exp(x - big), m))

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y)."""
        return indicator(self.distance(y), -total(lambda x: jax.scipy.special.entr(jnp.maximum(x, 0.0)), y))

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """To the simplex, in the 1-norm."""
        above, below = total(lambda x: jnp.maximum(x, 0.0), y), total(lambda x: jnp.maximum(-x, 0.0), y)
        return below + jnp.abs(above - 1)

    def _greatest(self, m: PyTree) -> Float[Array, ""]:
        parts = [jnp.max(wide(x), initial=-jnp.inf) for x in jax.tree.leaves(m)]
        return jax.lax.stop_gradient(jnp.max(jnp.stack(parts))) if parts else jnp.zeros(())
