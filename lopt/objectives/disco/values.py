"""Categorical values: distributions over bins of a transformed value."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-3
"""The linear part of the transform of values."""


def signed_log(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def signed_hyperbolic(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, with epsilon 1e-3.

    Paper: arXiv 1805.11593, proposition A.2.
    """
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + EPSILON * x


def signed_parabolic(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The inverse of `signed_hyperbolic`: sign(x) (z^2 - 1), with

    z = sqrt(1 + 4 epsilon (epsilon + 1 + |x|)) / (2 epsilon) - 1 / (2 epsilon).
    """
    z = jnp.sqrt(1 + 4 * EPSILON * (EPSILON + 1 + jnp.abs(x))) / (2 * EPSILON) - 1 / (2 * EPSILON)
    return jnp.sign(x) * (z**2 - 1)


@dataclass(frozen=True)
class ValueBins:
    """Values as categorical distributions over Q evenly spaced bins of the transformed value h(x).

    Attributes:
        number: Q, an odd number, so that zero is a bin.
        limit: the outermost bins are at h(x) = -limit and +limit.

    Raises:
        ValueError: an even number of bins or fewer than three, or a limit that is not positive and finite.
    """

    number: int = 601
    limit: float = 300.0

    def __post_init__(self) -> None:
        if self.number < 3 or self.number % 2 == 0:
            raise ValueError(f"ValueBins: number must be odd and at least 3 (got {self.number})")
        if not 0 < self.limit < math.inf:
            raise ValueError(f"ValueBins: limit must be positive and finite (got {self.limit})")

    def value(self, logits: Float[Array, "*b Q"]) -> Float[Array, "*b"]:
        """The value of a distribution: h^{-1}(sum_k p_k b_k), b_k the bins."""
        return signed_parabolic(jax.nn.softmax(logits) @ jnp.linspace(-self.limit, self.limit, self.number))

    def two_hot(self, value: Float[Array, "*b"]) -> Float[Array, "*b Q"]:
        """The distribution on the two bins next to h(value), whose mean is h(value) up to 1e-5.

        Differs: DiscoRL's lower weight is (upper - h) / (upper - lower + 1e-5), which this reproduces.
        """
        position = jnp.clip(signed_hyperbolic(value), -self.limit, self.limit)
        position = (position + self.limit) * ((self.number - 1) / (2 * self.limit))
        lower, upper = jnp.floor(position), jnp.ceil(position)
        width = 2 * self.limit / (self.number - 1)
        low = (upper - position) * width / ((upper - lower) * width + 1e-5)
        at_lower = jax.nn.one_hot(lower.astype(jnp.int32), self.number) * low[..., None]
        return at_lower + jax.nn.one_hot(upper.astype(jnp.int32), self.number) * (1 - low)[..., None]

    def cross_entropy(self, value: Float[Array, "*b"], logits: Float[Array, "*b Q"]) -> Float[Array, "*b"]:
        """Cross-entropy of the two-hot distribution of `value` and that of the logits, in nats."""
        return -(self.two_hot(value) * jax.nn.log_softmax(logits)).sum(-1)
