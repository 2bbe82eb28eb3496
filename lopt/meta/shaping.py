"""What a candidate's fitness counts for: from fitness to weights that do not depend on its scale.

A shaping maps the fitness of antithetic pairs `[N, 2]` (higher is better) to weights of the same shape. Ties give zero,
and a fitness that is not a number is the worst there is: it never wins, and it never becomes a weight.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Shaping = Callable[[Float[Array, "N 2"]], Float[Array, "N 2"]]
"""From fitness to weights."""


@dataclass(frozen=True)
class PairSign:
    """1/2 for the better of a pair, -1/2 for the other, 0 for a tie: levels of any scale count alike.

    Paper: arXiv 2402.05828, antithetic task sampling. Differs: its code gives a tie to the second of the pair, which is
    noise wherever nobody scores.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights."""
        fitness = _ordered(fitness)
        first, second = fitness[:, 0], fitness[:, 1]
        sign = (first > second).astype(jnp.float32) - (first < second).astype(jnp.float32)
        return 0.5 * jnp.stack([sign, -sign], -1)


@dataclass(frozen=True)
class CentredRank:
    """Ranks among all candidates, scaled to [-1/2, 1/2]; equal fitness, equal (mean) rank.

    For candidates that play the same level, or levels of one scale.

    Paper: arXiv 1703.03864, section 2.1. Differs: there ties are broken by position.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights."""
        values = _ordered(fitness).ravel()
        ranks = jax.scipy.stats.rankdata(values) - 1
        return (ranks / (values.size - 1) - 0.5).reshape(fitness.shape).astype(jnp.float32)


@dataclass(frozen=True)
class ZScore:
    """(F - mean) / standard deviation, over all finite candidates; 0 where all are equal.

    A candidate that is not finite gets the least weight of those that are.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights."""
        finite = jnp.isfinite(fitness)
        worst = jnp.where(finite, fitness, jnp.inf).min()
        fitness = jnp.where(finite, fitness, jnp.where(finite.any(), worst, 0.0))
        centred = fitness - fitness.mean()
        std = fitness.std()
        # rounding in the mean must not become a direction
        tied = fitness.max() == fitness.min()
        return jnp.where(tied, 0.0, centred / jnp.where(tied, 1.0, std))


@dataclass(frozen=True)
class Raw:
    """The fitness itself: the unbiased gradient of the smoothed objective. Not finite counts as the pair's other half,
    so that the pair says nothing."""

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights."""
        return jnp.where(jnp.isfinite(fitness).all(-1, keepdims=True), fitness, 0.0)


def _ordered(fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
    """Minus infinity for what is not a number."""
    return jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
