"""The proxy task on which candidate programs are evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.types import Key, Params


def cosine(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """The cosine schedule (1 + cos(pi step / steps)) / 2 from 1 to 0; the peak rate is a constant of the program."""
    return 0.5 * (1.0 + jnp.cos(jnp.pi * step / steps))


@dataclass(frozen=True, eq=False, kw_only=True)
class Proxy:
    """A proxy task: a small task on which a program trains a learner from its initial weights.

    Attributes:
        init: `key -> params`, the initial weights.
        batch: `key -> minibatch` of a step.
        loss: `(params, minibatch) -> scalar`, which is differentiated.
        score: `params -> scalar` of trained weights, on held-out data; larger is better.
        steps: number of updates of a lifetime.
        schedule: `(step, steps) -> lr`, in [0, 1].
        max_loss_ratio: a learner whose loss exceeds this many times its first loss counts as diverged.

    Raises:
        ValueError: `steps` below one, or a `max_loss_ratio` of one or less.
    """

    init: Callable[[Key], Params]
    batch: Callable[[Key], Any]
    loss: Callable[[Params, Any], Float[Array, ""]]
    score: Callable[[Params], Float[Array, ""]]
    steps: int
    schedule: Callable[[Int[Array, ""], int], Float[Array, ""]] = cosine
    max_loss_ratio: float = 3.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.max_loss_ratio > 1:
            raise ValueError(
                f"Proxy: expected steps >= 1 and max_loss_ratio > 1 (got {self.steps} and {self.max_loss_ratio})"
            )
