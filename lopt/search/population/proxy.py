"""What candidate programs are tried on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.types import Key, Params


def cosine(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """The schedule's value, from one to zero over a life; the peak rate is a constant of the program."""
    return 0.5 * (1.0 + jnp.cos(jnp.pi * step / steps))


@dataclass(frozen=True, eq=False)
class Proxy:
    """A small task on which a program trains a learner from birth.

    Attributes:
        init: the weights of a newborn.
        batch: the minibatch of a step.
        loss: of weights on a minibatch, a scalar that is differentiated.
        score: what grown weights are worth, on data that is never trained on; larger is better.
        steps: updates of a life.
        schedule: from a step and the number of all steps to lr, in [0, 1].
        explosion: a learner whose loss exceeds its first one this many times is lost.

    Raises:
        ValueError: no steps, or an `explosion` that is not above one.
    """

    init: Callable[[Key], Params]
    batch: Callable[[Key], Any]
    loss: Callable[[Params, Any], Float[Array, ""]]
    score: Callable[[Params], Float[Array, ""]]
    steps: int
    schedule: Callable[[Int[Array, ""], int], Float[Array, ""]] = cosine
    explosion: float = 3.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.explosion > 1:
            raise ValueError(f"Proxy: expected steps >= 1 and explosion > 1 (got {self.steps} and {self.explosion})")
