"""What a rule is told of where the learner stands in its lifetime.

A conditioning is a callable from `Progress` to `[features]`, with `features` its static width. Inputs are of order
one, so that they do not saturate the gates of the network that reads them.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Progress


@dataclass(frozen=True)
class NoTime:
    """Nothing: the rule is the same all life long (LPG)."""

    features: int = 0

    def __call__(self, progress: Progress) -> Float[Array, " 0"]:
        """An empty vector."""
        return jnp.zeros((0,))


@dataclass(frozen=True)
class Fraction:
    """n / N: how much of the life is over (temporally-aware LPO).

    Paper: arXiv 2402.05828, section 5.
    """

    features: int = 1

    def __call__(self, progress: Progress) -> Float[Array, " 1"]:
        """The fraction."""
        return progress.fraction[None]


@dataclass(frozen=True)
class RemainingFraction:
    """(N - n) / N: how much of the life is left."""

    features: int = 1

    def __call__(self, progress: Progress) -> Float[Array, " 1"]:
        """The fraction that is left."""
        return 1 - progress.fraction[None]


@dataclass(frozen=True)
class FractionAndLogLifetime:
    """(n / N, log N - log reference): temporally-aware LPG.

    Raises:
        ValueError: a reference that is not positive.

    Paper: arXiv 2402.05828, eq. 9. Differs: log N is taken relative to a reference lifetime, to be of order one.
    """

    reference: float = 250.0
    features: int = 2

    def __post_init__(self) -> None:
        if not self.reference > 0:
            raise ValueError(f"FractionAndLogLifetime: reference must be positive (got {self.reference})")

    def __call__(self, progress: Progress) -> Float[Array, " 2"]:
        """The two features."""
        return jnp.stack([progress.fraction, progress.log_lifetime - jnp.log(self.reference)])


@dataclass(frozen=True)
class RawTime:
    """(n, N) as they are: what the official code feeds its GRU, whose gates it saturates. For comparisons."""

    features: int = 2

    def __call__(self, progress: Progress) -> Float[Array, " 2"]:
        """The two counts."""
        return jnp.stack([progress.step, progress.lifetime]).astype(jnp.float32)


@dataclass(frozen=True)
class HeldTime:
    """Another conditioning whose clock stands still: what a rule does without the course of time it was trained with.

    Attributes:
        conditioning: what the rule was trained with.
        fraction: n / N that it is told all life long.

    Raises:
        ValueError: a fraction outside of [0, 1].
    """

    conditioning: Any
    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"HeldTime: fraction must be in [0, 1] (got {self.fraction})")

    @property
    def features(self) -> int:
        """Those of the other."""
        return self.conditioning.features

    def __call__(self, progress: Progress) -> Float[Array, " features"]:
        """The features at that point of a life of this length."""
        step = jnp.round(self.fraction * progress.lifetime).astype(progress.step.dtype)
        return self.conditioning(Progress(step=step, lifetime=progress.lifetime))
