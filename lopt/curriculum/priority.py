"""How a score becomes a chance of being replayed, and sampling without replacement by those chances.

A priority gives unnormalised log-weights, minus infinity for a level that must not be drawn: staying in
logarithms keeps steep temperatures from underflowing to "impossible".
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lopt.types import Key


@runtime_checkable
class Priority(Protocol):
    """Turns the scores of a buffer into log-weights."""

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """Unnormalised log-weights; minus infinity where not `valid`."""
        ...


@dataclass(frozen=True)
class Rank:
    """Weights w = rank^(-1/T), rank 1 for the highest score.

    T -> 0 always takes the best, T -> infinity is uniform. Only the order of the scores matters, so their
    scale and sign do not.

    Attributes:
        temperature: T.

    Raises:
        ValueError: a temperature that is not positive.

    Paper: arXiv 2010.03934, rank prioritisation (T is beta there, 0.1 on Procgen).

    Differs: equal scores share the best of their ranks, so equal scores have equal weight; peers break ties
    by place in the buffer, which makes a constant score prefer old levels.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        _check_temperature("Rank", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """-log(rank) / T."""
        rank = _higher(score, valid) + 1
        return jnp.where(valid, -jnp.log(rank.astype(jnp.float32)) / self.temperature, -jnp.inf)


@dataclass(frozen=True)
class Proportional:
    """Weights w = exp(score / T), a softmax: a constant added to all scores changes nothing, and any sign
    is fine.

    Attributes:
        temperature: T, in the unit of the scores.

    Raises:
        ValueError: a temperature that is not positive.

    Paper: arXiv 2310.02782 (its code, T = 1).

    Differs: arXiv 2010.03934 has score^(1/T), which is undefined for negative scores.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature("Proportional", self.temperature)

    def log_weights(self, score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Float[Array, " C"]:
        """score / T."""
        return jnp.where(valid, score / self.temperature, -jnp.inf)


@dataclass(frozen=True)
class TopK:
    """The softmax of `Proportional` over the k highest scores only; those equal to the k-th are in.

    Attributes:
        k: how many.
        temperature: T, in the unit of the scores.

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
        """score / T where fewer than k scores are higher."""
        best = valid & (_higher(score, valid) < self.k)
        return jnp.where(best, score / self.temperature, -jnp.inf)


def draw(key: Key, log_weights: Float[Array, " C"], k: int) -> Int[Array, " k"]:
    """k places drawn in order without replacement, each with the chance w_c / sum of the w still there.

    Adding Gumbel noise to the log-weights and taking the k largest is that sequential draw, in one pass.
    Places of weight zero come last, so only the first `count(log_weights > -inf)` are drawn ones.
    """
    noise = jax.random.gumbel(key, log_weights.shape, log_weights.dtype)
    return jax.lax.top_k(log_weights + noise, k)[1]


def _higher(score: Float[Array, " C"], valid: Bool[Array, " C"]) -> Int[Array, " C"]:
    """How many valid scores are strictly higher."""
    rising = jnp.sort(jnp.where(valid, -score, jnp.inf))
    return jnp.searchsorted(rising, -score, side="left")


def _check_temperature(name: str, temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"{name}: temperature must be positive (got {temperature}, expected > 0)")
