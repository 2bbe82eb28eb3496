"""Closed forms of learned rules: programs of other inputs, their fitness, and their use as drifts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.search.liveness import prune_loop, reads
from lopt.search.program import FUNCTIONS, Program, evaluator, types_of
from lopt.types import Key, Progress, Theta

POINTWISE = tuple(
    name
    for name in FUNCTIONS
    if name not in ("invert", "norm", "global_norm", "dot", "cosine_sim", "clip_by_global_norm")
)
"""The functions that treat every point alone: what `Mutation` should draw an expression from."""

Values = Callable[..., np.ndarray]
"""An expression: arrays of points `[n]`, one for every input, to its values `[n]`."""


def expression(program: Program) -> Values:
    """A program as a function of points, in float64; the schedule's value is one.

    Raises:
        ValueError: a program that is not valid, or that has extra variables.
    """
    types_of(program)
    if program.extras:
        raise ValueError(f"expression: a program without extra variables is asked for (got {program.extras})")
    evaluate = evaluator(np, prune_loop(program))

    def values(*points: np.ndarray) -> np.ndarray:
        bound: dict[str, Any] = {program.rate: np.float64(1.0)}
        bound |= {name: (np.asarray(x, np.float64),) for name, x in zip(program.inputs, points, strict=True)}
        with np.errstate(all="ignore"):
            return evaluate(bound)[0][0]

    return values


@dataclass(frozen=True)
class DriftValidity:
    """By how much a function of (r, A) is no drift of mirror learning; zero if it is one, at these points.

        mean max(-f(r, A), 0) + mean |f(1, A)| + mean |f(1 + h, A) - f(1 - h, A)| / 2h

    Attributes:
        ratios, advantages: the points, `[n]` each.
        h: the step of the slope at one.

    Paper: arXiv 2201.02373: f >= 0, f(1, A) = 0 and df/dr(1, A) = 0.
    """

    ratios: np.ndarray
    advantages: np.ndarray
    h: float = 1e-4

    def __call__(self, f: Values) -> float:
        """The sum of the three."""
        ones = np.ones_like(self.advantages)
        below = np.maximum(-f(self.ratios, self.advantages), 0.0)
        slope = (f(ones + self.h, self.advantages) - f(ones - self.h, self.advantages)) / (2 * self.h)
        return float(below.mean() + np.abs(f(ones, self.advantages)).mean() + np.abs(slope).mean())


@dataclass(frozen=True)
class Distillation:
    """How well an expression stands in for a rule: the fitness of a search for its closed form, at most zero.

        -( mean (f - target)^2 / var target + weight * violation / std target + parsimony * live statements )

    and minus infinity where that is not finite. Programs take the rule's inputs in the place of w and g:
    `Program((), (), ("r",), ("r", "A"))` is a start for a drift.

    Attributes:
        points: arrays `[n]`, one for every input.
        target: the rule's values there, `[n]`.
        violation: by how much a function is not allowed, such as `DriftValidity`; None if all are.
        weight: what a violation of one standard deviation of the target costs.
        parsimony: what a statement costs.

    Raises:
        ValueError: arrays of other shapes, a target that is constant or not finite, or a negative price.
    """

    points: Sequence[np.ndarray]
    target: np.ndarray
    violation: Callable[[Values], float] | None = None
    weight: float = 1.0
    parsimony: float = 1e-3

    def __post_init__(self) -> None:
        shapes = [np.shape(x) for x in (self.target, *self.points)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise ValueError(f"Distillation: points and target must be arrays [n] of one length (got {shapes})")
        if not 0 < np.std(self.target) < math.inf:
            raise ValueError(f"Distillation: target must vary and be finite (got a deviation of {np.std(self.target)})")
        if self.weight < 0 or self.parsimony < 0:
            raise ValueError(
                f"Distillation: weight and parsimony must be >= 0 (got {self.weight} and {self.parsimony})"
            )

    def __call__(self, program: Program) -> float:
        """The fitness of a valid program without extra variables.

        Raises:
            ValueError: what `expression` raises.
        """
        f, scale = expression(program), float(np.std(self.target))
        with np.errstate(all="ignore"):
            cost = np.mean((f(*self.points) - self.target) ** 2) / scale**2
            if self.violation is not None:
                cost += self.weight * self.violation(f) / scale
        cost += self.parsimony * len(prune_loop(program).statements)
        return -float(cost) if math.isfinite(cost) else -math.inf


@dataclass(frozen=True)
class ProgramDrift:
    """A program of r and A as a drift (`lopt.objectives.Drift`); the schedule's value is n / N, as of TA-LPO.

    Nothing makes the program valid: see `DriftValidity`.

    Raises:
        ValueError: a program that is not valid, that has extra variables, or another number of inputs than two.
    """

    program: Program

    def __post_init__(self) -> None:
        expression(self.program)
        if len(self.program.inputs) != 2:
            raise ValueError(f"ProgramDrift: inputs must be r and A (got {self.program.inputs})")

    @property
    def time_aware(self) -> bool:
        """Whether the program's value depends on the schedule's."""
        return self.program.rate in reads(prune_loop(self.program))

    def init(self, key: Key) -> Theta:
        """There are no meta-parameters."""
        return ()

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f at log r and A."""
        ratio, other = self.program.inputs
        live = prune_loop(self.program)
        bound = {ratio: (jnp.exp(log_ratio),), other: (advantage,), live.rate: progress.fraction}
        return evaluator(jnp, live)(bound)[0][0]
