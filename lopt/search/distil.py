"""Symbolic distillation: of functions by pointwise programs, programs as drifts, and of optimizers by imitation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.search.dataflow import prune_loop, reads
from lopt.search.functions import FUNCTIONS
from lopt.search.mutate import Mutation, mutate_constant
from lopt.search.program import Program, evaluator, types_of
from lopt.search.simplify import pattern_search
from lopt.types import Key, Progress, Theta

POINTWISE = tuple(
    name
    for name in FUNCTIONS
    if name not in ("invert", "norm", "global_norm", "dot", "cosine_sim", "clip_by_global_norm")
)
"""Functions that act elementwise; give these to `Mutation` to search for an expression."""

PointwiseFunction = Callable[..., np.ndarray]
"""A function of one array of points `[n]` for each input; returns values `[n]`."""


def expression(program: Program) -> PointwiseFunction:
    """A program as a float64 function of points `[n]`; the learning-rate schedule's value is 1.

    Raises:
        ValueError: a program that is not valid, or that has extra variables.
    """
    types_of(program)
    if program.extras:
        raise ValueError(f"expression: expected a program without extra variables (got {program.extras})")
    evaluate = evaluator(np, prune_loop(program))

    def values(*points: np.ndarray) -> np.ndarray:
        bound: dict[str, Any] = {program.rate: np.float64(1.0)}
        bound |= {name: (np.asarray(x, np.float64),) for name, x in zip(program.inputs, points, strict=True)}
        with np.errstate(all="ignore"):
            return evaluate(bound)[0][0]

    return values


@dataclass(frozen=True)
class DriftValidity:
    """Violation of the conditions on a drift of mirror learning; zero for a valid drift at these points.

        mean max(-f(r, A), 0) + mean |f(1, A)| + mean |f(1 + h, A) - f(1 - h, A)| / 2h

    Attributes:
        ratios: probability ratios r, `[n]`.
        advantages: advantages A, `[n]`.
        h: step of the central difference that estimates df/dr at r = 1.

    Paper: arXiv 2201.02373: f >= 0, f(1, A) = 0 and df/dr(1, A) = 0.
    """

    ratios: np.ndarray
    advantages: np.ndarray
    h: float = 1e-4

    def __call__(self, f: PointwiseFunction) -> float:
        """The sum of the three terms for a function `f(r, A)`."""
        ones = np.ones_like(self.advantages)
        negative_part = np.maximum(-f(self.ratios, self.advantages), 0.0)
        slope = (f(ones + self.h, self.advantages) - f(ones - self.h, self.advantages)) / (2 * self.h)
        return float(negative_part.mean() + np.abs(f(ones, self.advantages)).mean() + np.abs(slope).mean())


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Fitness of a program as a closed form of a learned function, at most zero (larger is better).

        -( mean (f - target)^2 / var target + weight * violation / std target + parsimony * live statements )

    Minus infinity if this is not finite. The program's inputs are those of the learned function, instead of w and g:
    `Program((), (), ("r",), ("r", "A"))` is an initial program for a drift.

    Attributes:
        points: one array `[n]` for each input.
        target: values of the learned function at the points, `[n]`.
        violation: constraint violation of a function, such as `DriftValidity`; None without a constraint.
        weight: cost of a violation of one standard deviation of the target, in shares of the target's variance.
        parsimony: cost of a statement, in shares of the target's variance.

    Raises:
        ValueError: arrays of different shapes, a target that is constant or not finite, or a negative cost.
    """

    points: Sequence[np.ndarray]
    target: np.ndarray
    violation: Callable[[PointwiseFunction], float] | None = None
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
            ValueError: a program that `expression` refuses.
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
    """A program of r and A as a drift (`lopt.objectives.Drift`) without meta-parameters.

    The program's learning-rate input receives the progress n / N, as in TA-LPO. The drift conditions are not enforced:
    `DriftValidity` measures their violation.

    Attributes:
        program: a program with the inputs r and A and no extra variables.

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
        """Whether the program's value depends on the progress n / N."""
        return self.program.rate in reads(prune_loop(self.program))

    def init(self, key: Key) -> Theta:
        """The empty tuple: a program has no meta-parameters."""
        return ()

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f(r, A) at the given log r, A and progress."""
        ratio, advantage_name = self.program.inputs
        live = prune_loop(self.program)
        bound = {ratio: (jnp.exp(log_ratio),), advantage_name: (advantage,), live.rate: progress.fraction}
        return evaluator(jnp, live)(bound)[0][0]


@dataclass(frozen=True)
class Imitation:
    """Fitness of a program as a closed form of an optimizer, at most zero (larger is better).

        -( mean (u + update)^2 / var update + parsimony * live statements )

    Minus infinity if this is not finite. u is the program's update, which the training loop subtracts; update is what
    the optimizer added. The program is evaluated on the optimizer's own trajectory: it reads the recorded weights and
    gradients, its updates are not applied, and its extra variables start at zero and carry over from step to step. The
    learning-rate schedule's value is 1.

    Attributes:
        weights: weights before each step, `[T, n]`; the n weights are one leaf.
        gradients: gradients at these weights, `[T, n]`.
        updates: what the optimizer added to the weights (optax's updates), `[T, n]`.
        parsimony: cost of a statement, in shares of the updates' variance.

    Raises:
        ValueError: arrays of different shapes, updates that are constant or not finite, or a negative cost.
    """

    weights: np.ndarray
    gradients: np.ndarray
    updates: np.ndarray
    parsimony: float = 1e-3

    def __post_init__(self) -> None:
        shapes = [np.shape(x) for x in (self.weights, self.gradients, self.updates)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise ValueError(
                f"Imitation: weights, gradients and updates must be arrays [T, n] of one shape (got {shapes})"
            )
        deviation = np.std(self.updates) if np.size(self.updates) else math.nan
        if not 0 < deviation < math.inf:
            raise ValueError(f"Imitation: updates must vary and be finite (got a deviation of {deviation})")
        if not self.parsimony >= 0:
            raise ValueError(f"Imitation: parsimony must be >= 0 (got {self.parsimony})")

    def updates_of(self, program: Program) -> Float[np.ndarray, "T n"]:
        """What the program would add to the weights at each step of the trajectory, in float64.

        Raises:
            ValueError: a program that is not valid, or has another number of inputs than two.
        """
        types_of(program)
        if len(program.inputs) != 2:
            raise ValueError(f"Imitation: inputs must be the weights and the gradient (got {program.inputs})")
        live = prune_loop(program)
        evaluate, updates = evaluator(np, live), []
        extras = [(np.zeros(np.shape(self.weights)[1]),)] * len(live.extras)
        weights, gradients = np.asarray(self.weights, np.float64), np.asarray(self.gradients, np.float64)
        with np.errstate(all="ignore"):
            for w, g in zip(weights, gradients, strict=True):
                values = ((w,), (g,), *extras, np.float64(1.0))
                (update,), *extras = evaluate(dict(zip(live.parameters, values, strict=True)))
                updates.append(-update)
        return np.stack(updates)

    def __call__(self, program: Program) -> float:
        """The fitness of a valid program of w and g.

        Raises:
            ValueError: a program that `updates_of` refuses.
        """
        with np.errstate(all="ignore"):
            cost = np.mean((self.updates_of(program) - self.updates) ** 2) / np.var(self.updates)
        cost += self.parsimony * len(prune_loop(program).statements)
        return -float(cost) if math.isfinite(cost) else -math.inf


@dataclass(frozen=True)
class MixedMutation:
    """A mutation of the structure, of one constant, or of all constants by pattern search.

    Attributes:
        mutation: mutation of the structure.
        fitness: fitness that the pattern search improves.
        constant_mutation: probability of rescaling one constant by 2^a, a ~ N(0, s^2), with s log-uniform in [0.01, 1].
        pattern_search: probability of a pattern search.
        sweeps: maximum number of sweeps of a pattern search.
        stop: success probability of the geometric number of structural mutations in the other cases.
    """

    mutation: Mutation
    fitness: Callable[[Program], float]
    constant_mutation: float
    pattern_search: float
    sweeps: int = 3
    stop: float = 0.5

    def __call__(self, rng: np.random.Generator, program: Program) -> Program:
        """A mutated copy of a valid program, which is valid too."""
        draw = rng.random()
        if draw < self.pattern_search:
            return pattern_search(program, self.fitness, self.sweeps)
        if draw < self.pattern_search + self.constant_mutation and program.constants:
            return mutate_constant(rng, program, 10 ** rng.uniform(-2, 0))
        for _ in range(rng.geometric(self.stop)):
            program = self.mutation(rng, program)
        return program
