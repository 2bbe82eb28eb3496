"""Exponential moving moments with a correction of their initial bias."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float


class DebiasedMoments(struct.PyTreeNode):
    """Exponential moving averages of x and x^2, corrected for their start at zero as Adam's moments are.

        m1 <- beta m1 + (1 - beta) mean(x)
        m2 <- beta m2 + (1 - beta) mean(x^2)
        decay_product <- beta decay_product

    The mean is m1 / (1 - decay_product), the variance max(0, m2 / (1 - decay_product) - mean^2). After one update both
    are those of its batch.

    Attributes:
        m1: average of x.
        m2: average of x^2.
        decay_product: the product of the decays; 1 before the first update.

    Paper: the running statistics of DiscoRL (Nature 2025), with beta 0.99.
    """

    m1: Float[Array, "*n"]
    m2: Float[Array, "*n"]
    decay_product: Float[Array, "*n"]

    @classmethod
    def zeros(cls) -> "DebiasedMoments":
        """The moments before the first update."""
        return cls(m1=jnp.zeros(()), m2=jnp.zeros(()), decay_product=jnp.ones(()))

    def update(self, x: Float[Array, "*b"], decay: float) -> "DebiasedMoments":
        """The moments with a batch added; they are constants for differentiation."""
        x = jax.lax.stop_gradient(x)
        return DebiasedMoments(
            m1=decay * self.m1 + (1 - decay) * x.mean(),
            m2=decay * self.m2 + (1 - decay) * (x**2).mean(),
            decay_product=decay * self.decay_product,
        )

    def normalise(self, x: Float[Array, "*b"], *, centre: bool = True) -> Float[Array, "*b"]:
        """(x - mean) / (sqrt(variance + 1e-12) + 1e-6), without the mean if not `centre`; after at least one update."""
        weight = 1 - self.decay_product
        mean = self.m1 / weight
        variance = jnp.maximum(0.0, self.m2 / weight - mean**2)
        return (x - mean if centre else x) / (jnp.sqrt(variance + 1e-12) + 1e-6)
