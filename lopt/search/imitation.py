"""Symbolic distillation of optimizers: the fitness of a program with state against recorded updates."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lopt.search.liveness import prune_loop
from lopt.search.program import Program, evaluator, types_of


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
