"""Closed forms of optimizers: how well a program with state does what another optimizer did."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lopt.search.liveness import prune_loop
from lopt.search.program import Program, evaluator, types_of


@dataclass(frozen=True)
class Imitation:
    """How well a program stands in for an optimizer: the fitness of a search for its closed form, at most zero.

        -( mean (u + update)^2 / var update + parsimony * live statements )

    and minus infinity where that is not finite. u is the program's update, which its loop subtracts; update is what
    the optimizer added. The program is shown the weights and gradients of the optimizer's life, whatever it would have
    done itself: its extra variables begin as zeros and last, and the schedule's value is one.

    Attributes:
        weights: before every step, `[T, n]`; the n weights are one leaf.
        gradients: at these, `[T, n]`.
        updates: what the optimizer added to the weights then (optax's updates), `[T, n]`.
        parsimony: what a statement costs.

    Raises:
        ValueError: arrays of other shapes, updates that are constant or not finite, or a negative price.
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
        """What the program adds to the weights at every step, in float64.

        Raises:
            ValueError: a program that is not valid, or has another number of inputs than two.
        """
        types_of(program)
        if len(program.inputs) != 2:
            raise ValueError(f"Imitation: inputs must be the weights and the gradient (got {program.inputs})")
        live = prune_loop(program)
        evaluate, added = evaluator(np, live), []
        extras = [(np.zeros(np.shape(self.weights)[1]),)] * len(live.extras)
        weights, gradients = np.asarray(self.weights, np.float64), np.asarray(self.gradients, np.float64)
        with np.errstate(all="ignore"):
            for w, g in zip(weights, gradients, strict=True):
                values = ((w,), (g,), *extras, np.float64(1.0))
                (update,), *extras = evaluate(dict(zip(live.parameters, values, strict=True)))
                added.append(-update)
        return np.stack(added)

    def __call__(self, program: Program) -> float:
        """The fitness of a program.

        Raises:
            ValueError: what `updates_of` raises.
        """
        with np.errstate(all="ignore"):
            cost = np.mean((self.updates_of(program) - self.updates) ** 2) / np.var(self.updates)
        cost += self.parsimony * len(prune_loop(program).statements)
        return -float(cost) if math.isfinite(cost) else -math.inf
