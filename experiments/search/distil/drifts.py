"""Learned drifts as distillation targets: data, fitness, metrics, rule files and figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.search.distil.config import DistilConfig, DriftConfig
from lopt.evaluation import drift_plots, image, plots
from lopt.objectives import Drift
from lopt.rules import card_of, save_rule
from lopt.search import Distillation, DriftValidity, Mutation, Program, ProgramDrift, expression, formula, parse
from lopt.types import Progress, Theta

FUNCTIONS = (
    *("add", "subtract", "multiply", "divide", "max", "min", "abs", "negative"),
    *("square", "cube", "exp", "log", "tanh"),
)
"""Functions of a drift's formula: a subset of `lopt.search.POINTWISE`, differentiable almost everywhere."""
VALIDITY_POINTS = 64
"""Number of points at which the violation is measured; fewer than for the fit, since it needs f at r = 1 and 1 +- h."""
BEHAVIOUR_POINTS = 64
"""Number of points whose values are hashed to recognise equivalent programs; half of them are near r = 1."""

PLASTIC = 1.324717957244746 ** -np.array([1.0, 2.0])
"""Inverse powers of the plastic number: the steps of a Kronecker sequence in the unit square."""


@dataclass(frozen=True)
class DriftTarget:
    """A learned drift f(r, A) at one value of the progress.

    Attributes:
        drift: the drift.
        theta: its meta-parameters.
        config: the configuration, with the points of the fit.
    """

    drift: Drift
    theta: Theta
    config: DistilConfig

    initial = parse("def drift(r, A, t): return max((r - max(min(r, 1.2), 0.8)) * A, 0.0)")  # PPO's
    kind = "drift"
    explanation = (
        "R^2 and the error are measured on points that were not fitted. The violation is the mean of max(-f, 0), plus "
        "the mean of |f| at r = 1, plus the mean of |df/dr| at r = 1; it is zero for a valid drift."
    )

    def values(self, ratios: np.ndarray, advantages: np.ndarray) -> np.ndarray:
        """Values f(r, A) `[n]` of the learned drift."""
        progress = Progress(step=jnp.int32(round(1000 * self.config.drift.fraction)), num_updates=jnp.int32(1000))
        log_ratios, arrays = jnp.log(jnp.asarray(ratios, jnp.float32)), jnp.asarray(advantages, jnp.float32)
        return np.asarray(self.drift(self.theta, log_ratios, arrays, progress), np.float64)

    def points(self, split: int) -> tuple[np.ndarray, np.ndarray]:
        """Ratios and advantages `[points]`: those of the fit (split 0), and those of the metrics (split 1)."""
        return _points(self.config.drift, self.config.run.seed, split)

    def fitness(self, parsimony: float) -> Callable[[Program], float]:
        """The fitness of a program, with the cost `parsimony` of a statement."""
        ratios, advantages = points = self.points(0)
        validity = DriftValidity(ratios[:VALIDITY_POINTS], advantages[:VALIDITY_POINTS])
        return Distillation(
            points=points,
            target=self.values(*points),
            violation=validity,
            weight=self.config.drift.weight,
            parsimony=parsimony,
        )

    def mutation(self, longest: int) -> Mutation:
        """The mutation of the structure."""
        return Mutation(functions=FUNCTIONS, longest=longest)

    def behaviour(self, program: Program) -> bytes:
        """The rounded values at `BEHAVIOUR_POINTS` points: equal for equivalent programs."""
        return rounded(expression(program)(*self._behaviour_points))

    @cached_property
    def _behaviour_points(self) -> tuple[np.ndarray, np.ndarray]:
        ratios, advantages = (x[:BEHAVIOUR_POINTS] for x in self.points(0))
        return np.where(np.arange(len(ratios)) % 2, ratios, 1 + 0.01 * (ratios - 1)), advantages

    def without_time(self, program: Program) -> Program:
        """The program with its time input replaced by 1, the value that it has during the search."""
        for i, statement in enumerate(program.statements):
            for j, arg in enumerate(statement.args):
                if arg == program.rate:
                    program = program.with_argument(i, j, 1.0)
            if statement.target == program.rate:
                break
        return program

    def usable(self, program: Program) -> bool:
        """Whether its gradient is finite at the points of the fit, and at r = 1, where each policy update starts."""
        ratios, advantages = self.points(0)
        drift, progress = ProgramDrift(program), Progress(step=jnp.int32(0), num_updates=jnp.int32(1))
        log_ratios = jnp.asarray(np.concatenate([np.log(ratios), np.zeros(len(ratios))]), jnp.float32)
        slopes = jax.vmap(jax.grad(lambda x, a: drift((), x, a, progress)))
        return bool(jnp.isfinite(slopes(log_ratios, jnp.asarray(np.tile(advantages, 2), jnp.float32))).all())

    def r_squared(self, program: Program) -> float:
        """R^2 on the held-out points."""
        points = self.points(1)
        return 1 + Distillation(points=points, target=self.values(*points), parsimony=0.0)(program)

    def metrics(self, program: Program) -> dict[str, float]:
        """Metrics on the held-out points.

        R^2, the root of the mean squared error, the standard deviation of the drift, and the violation.
        """
        points, f, r_squared = self.points(1), expression(program), self.r_squared(program)
        deviation, validity = float(np.std(self.values(*points))), DriftValidity(*points)
        return {
            "r_squared": r_squared,
            "rmse": deviation * math.sqrt(1 - r_squared),
            "deviation": deviation,
            "violation": validity(f),
        }

    def text(self, program: Program) -> str:
        """The formula as a Python function."""
        return formula(program, "drift")

    def save(self, path: Path, program: Program, **provenance: Any) -> None:
        """Save the program as the rule file of a drift."""
        save_rule(path, {}, card_of(ProgramDrift(program), **provenance))

    def draw(self, program: Program, path: Path) -> str:
        """Plot f and the slope of r A - f of drift and formula at two advantages; returns the figure's Markdown."""
        ratios = np.linspace(0.4, 1.8, 238)
        drifts = {"learned": (self.drift, self.theta), "formula": (ProgramDrift(program), ())}
        styles = {"learned": {"linewidth": 3, "alpha": 0.4}, "formula": {"linewidth": 1.3}}
        with plots.figure(path, columns=2 * len(drift_plots.ADVANTAGES)) as (figure, axes):
            for column, (curve, title) in enumerate(
                ((drift_plots.values, "f"), (drift_plots.slopes, "slope of r A - f"))
            ):
                for row, a in enumerate(drift_plots.ADVANTAGES):
                    axis = axes[0, 2 * column + row]
                    for (name, (drift, theta)), color in zip(drifts.items(), plots.COLORS, strict=False):
                        line = curve(drift, theta, ratios, np.array([a]), self.config.drift.fraction)[0]
                        axis.plot(ratios, line, label=name, color=color, **styles[name])
                    axis.axhline(0, color="#808080", linewidth=0.8)
                    axis.set(title=f"{title}, A = {a:g}", xlabel="ratio r")
            axes[0, 1].set_ylim(axes[0, 0].get_ylim())
            plots.shared_legend(figure, axes[0, -1])
        return image(path.name, "The drift f(r, A), and the slope of the penalised objective r A - f.")


@cache
def _points(sizes: DriftConfig, seed: int, split: int) -> tuple[np.ndarray, np.ndarray]:
    shift = np.random.default_rng([seed, split]).random((2, 1))
    # a Kronecker sequence: f is largest in the tails, where the number of independent points would vary most
    uniform = (shift + np.outer(PLASTIC, np.arange(sizes.points))) % 1
    log_ratios, advantages = np.asarray(jax.scipy.special.ndtri(np.clip(uniform, 1e-6, 1 - 1e-6)), np.float64)
    return np.exp(sizes.spread * log_ratios), advantages


def rounded(values: np.ndarray, digits: int = 4) -> bytes:
    """The values, rounded to `digits` decimals of the largest one, as bytes; all non-finite values are equal."""
    finite = np.where(np.isfinite(values), values, 0.0)
    scale = np.abs(finite).max(initial=1e-12)
    return np.where(np.isfinite(values), np.round(finite / scale, digits) + 0.0, np.nan).tobytes() + b"%.3e" % scale
