"""Priorities of prioritised level replay: from scores to replay probabilities, and sampling without replacement.

A priority returns unnormalised log-weights, minus infinity for a level that must not be drawn. Logarithms do not
underflow at low temperatures.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lopt.types import Key


@runtime_checkable
class Priority(Protocol):
    """A map from the scores of a buffer to the log-weights of the replay distribution."""

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """Unnormalised log-weights of the C slots; minus infinity where not `valid`."""
        ...


@dataclass(frozen=True)
class Rank:
    """Weights w = rank^(-1/T), rank 1 for the highest score.

    T -> 0 always takes the highest score, T -> infinity is uniform. The weights depend on the order of the scores
    alone, not on their scale or sign.

    Attributes:
        temperature: T.

    Raises:
        ValueError: a temperature that is not positive.

    Paper: arXiv 2010.03934, rank prioritisation (T is beta there, 0.1 on Procgen).

    Differs: equal scores share the best of their ranks and thus have equal weights. Other codes break ties by the
        position in the buffer, so that a constant score prefers old levels.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        _check_temperature("Rank", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """log w = -log(rank) / T among the `valid` slots."""
        rank = _higher(score, valid) + 1
        return jnp.where(valid, -jnp.log(rank.astype(jnp.float32)) / self.temperature, -jnp.inf)


@dataclass(frozen=True)
class Proportional:
    """Weights w = exp(score / T), a softmax; it is invariant to a constant added to all scores.

    Attributes:
        temperature: T, in units of the scores.

    Raises:
        ValueError: a temperature that is not positive.

    Paper: arXiv 2310.02782 (its code, T = 1).

    Differs: arXiv 2010.03934 has w = score^(1/T), which is undefined for negative scores.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature("Proportional", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """log w = score / T of the `valid` slots."""
        return jnp.where(valid, score / self.temperature, -jnp.inf)


@dataclass(frozen=True)
class TopK:
    """Weights w = exp(score / T) for the k highest scores and 0 for the others; ties with the k-th are included.

    Attributes:
        k: number of levels with positive weight, without ties.
        temperature: T, in units of the scores.

    Raises:
        ValueError: k below 1, or a temperature that is not positive.

    Differs: jaxued's "topk" ignores its temperature.
    """

    k: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopK: k must be at least 1 (got {self.k}, expected >= 1)")
        _check_temperature("TopK", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """log w = score / T of the `valid` slots than which fewer than k scores are higher."""
        best = valid & (_higher(score, valid) < self.k)
        return jnp.where(best, score / self.temperature, -jnp.inf)


def draw(key: Key, log_weights: Float[Array, " C"], k: int) -> Int[Array, " k"]:
    """k indices drawn one after the other without replacement, each with probability w_c / sum of the remaining w.

    The Gumbel top-k trick makes this sequential draw in one pass: add Gumbel noise to the log-weights and take the k
    largest. Indices of weight zero come last, so that only the first `count(log_weights > -inf)` are samples.
    """
    noise = jax.random.gumbel(key, log_weights.shape, log_weights.dtype)
    return jax.lax.top_k(log_weights + noise, k)[1]


def _higher(score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Int[Array, " C"]:
    """For every slot the number of valid scores that are strictly higher."""
    rising = jnp.sort(jnp.where(valid, -score, jnp.inf))
    return jnp.searchsorted(rising, -score, side="left")


def _check_temperature(name: str, temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"{name}: temperature must be positive (got {temperature}, expected > 0)")
