"""Time features: functions of the learner's progress that a learned rule is conditioned on.

A conditioning is a callable from `Progress` to features `[features]`, with `features` its static width. The features
are of order one, so that they do not saturate the gates of the rule's network.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Progress


@dataclass(frozen=True)
class NoTime:
    """No time features: the rule does not depend on the progress (LPG, LPO)."""

    features: int = 0

    def __call__(self, progress: Progress) -> Float[Array, " 0"]:
        """An empty vector."""
        return jnp.zeros((0,))


@dataclass(frozen=True)
class Fraction:
    """n / N, the fraction of the lifetime that is over (temporally-aware LPO).

    Paper: arXiv 2402.05828, section 5.
    """

    features: int = 1

    def __call__(self, progress: Progress) -> Float[Array, " 1"]:
        """n / N, as a vector of length one."""
        return progress.fraction[None]


@dataclass(frozen=True)
class RemainingFraction:
    """(N - n) / N, the fraction of the lifetime that remains."""

    features: int = 1

    def __call__(self, progress: Progress) -> Float[Array, " 1"]:
        """(N - n) / N, as a vector of length one."""
        return 1 - progress.fraction[None]


@dataclass(frozen=True)
class FractionAndLogNumUpdates:
    """(n / N, log(N / reference)): temporally-aware LPG.

    Attributes:
        reference: a number of updates, of the order of the lifetimes trained on.

    Raises:
        ValueError: a reference that is not positive.

    Paper: arXiv 2402.05828, eq. 9.
    Differs: the paper has log N; the reference makes the feature of order one.
    """

    reference: float = 250.0
    features: int = 2

    def __post_init__(self) -> None:
        if not self.reference > 0:
            raise ValueError(f"FractionAndLogNumUpdates: reference must be positive (got {self.reference})")

    def __call__(self, progress: Progress) -> Float[Array, " 2"]:
        """n / N and log(N / reference)."""
        return jnp.stack([progress.fraction, progress.log_num_updates - jnp.log(self.reference)])


@dataclass(frozen=True)
class FrozenProgress:
    """An ablation: the time features of `conditioning` at a constant progress n / N.

    Attributes:
        conditioning: the time features the rule was trained with.
        fraction: the constant n / N in [0, 1]; N is the learner's own.

    Raises:
        ValueError: a fraction outside [0, 1].
    """

    conditioning: Any
    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"FrozenProgress: fraction must be in [0, 1] (got {self.fraction})")

    @property
    def features(self) -> int:
        """The width of `conditioning`."""
        return self.conditioning.features

    def __call__(self, progress: Progress) -> Float[Array, " features"]:
        """The features at n = round(fraction N)."""
        step = jnp.round(self.fraction * progress.num_updates).astype(progress.step.dtype)
        return self.conditioning(Progress(step=step, num_updates=progress.num_updates))
