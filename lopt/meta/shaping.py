"""Fitness shaping: maps the fitness of antithetic pairs to the weights of their perturbations.

A shaping maps fitness `[N, 2]` (higher is better) to weights `[N, 2]`. The members of a tied pair get equal weights, so
that the pair contributes nothing. A NaN fitness counts as the worst and never becomes a weight.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Shaping = Callable[[Float[Array, "N 2"]], Float[Array, "N 2"]]
"""Function from fitness `[N, 2]` to weights `[N, 2]`."""


@dataclass(frozen=True)
class PairSign:
    """Weight 1/2 for the better member of a pair, -1/2 for the other, 0 for a tie; invariant to each level's scale.

    Paper: arXiv 2402.05828, antithetic task sampling. Differs: its code counts a tie as a win of the second member,
    which adds noise on levels where both members get the same fitness.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        fitness = _nan_to_worst(fitness)
        first, second = fitness[:, 0], fitness[:, 1]
        sign = (first > second).astype(jnp.float32) - (first < second).astype(jnp.float32)
        return 0.5 * jnp.stack([sign, -sign], -1)


@dataclass(frozen=True)
class CentredRank:
    """Ranks among all 2 N candidates, scaled to [-1/2, 1/2]; tied candidates share their mean rank.

    It compares candidates across levels, so the levels should have fitness of the same scale.

    Paper: arXiv 1703.03864, section 2.1. Differs: the authors' code breaks ties by position.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        values = _nan_to_worst(fitness).ravel()
        ranks = jax.scipy.stats.rankdata(values) - 1
        return (ranks / (values.size - 1) - 0.5).reshape(fitness.shape).astype(jnp.float32)


@dataclass(frozen=True)
class ZScore:
    """(F - mean F) / std F over all 2 N candidates; 0 if all are equal.

    A non-finite fitness is first replaced by the lowest finite one.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
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
    """The fitness itself, which gives the unbiased gradient of the smoothed objective.

    Both weights of a pair with a non-finite fitness are 0.
    """

    def __call__(self, fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        """Weights `[N, 2]` of the candidates with this fitness."""
        return jnp.where(jnp.isfinite(fitness).all(-1, keepdims=True), fitness, 0.0)


def _nan_to_worst(fitness: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
    """The fitness with minus infinity in the place of NaN."""
    return jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
