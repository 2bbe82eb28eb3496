"""Drifts to be distilled: where they are fitted, what is told of a fit, and how it is saved and drawn."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import plots
from experiments.common.report import image
from experiments.distil.config import DistilConfig, DriftConfig
from experiments.distil.formula import formula
from experiments.mirror import surface
from lopt.export import card_of, save_rule
from lopt.objectives import Drift
from lopt.search import Distillation, DriftValidity, Mutation, Program, ProgramDrift, expression, parse
from lopt.types import Progress, Theta

FUNCTIONS = (
    *("add", "subtract", "multiply", "divide", "max", "min", "abs", "negative"),
    *("square", "cube", "exp", "log", "tanh"),
)
"""What a drift is written with: of `lopt.search.POINTWISE`, those with a slope nearly everywhere, and no two alike."""
CHECKED = 64
"""Points at which validity is asked for: fewer than are fitted, for it takes three values at each."""
TOLD = 64
"""Points by whose values programs are told apart, half of them near r = 1."""

PLASTIC = 1.324717957244746 ** -np.array([1.0, 2.0])
"""Powers of the plastic number, by which points of the unit square are spread evenly."""


@dataclass(frozen=True)
class DriftSubject:
    """A drift f(r, A) at one time of life.

    Attributes:
        drift, theta: what was learned.
        config: where it is fitted.
    """

    drift: Drift
    theta: Theta
    config: DistilConfig

    initial = parse("def drift(r, A, t): return max((r - max(min(r, 1.2), 0.8)) * A, 0.0)")  # PPO's
    noun = "drift"
    reading = (
        "R^2 and errors are those on points that were not fitted. A violation is the mean of max(-f, 0), plus that of "
        "|f| at r = 1, plus that of the slope there; zero is a valid drift."
    )

    def values(self, ratios: np.ndarray, advantages: np.ndarray) -> np.ndarray:
        """f `[n]` at these points."""
        progress = Progress(step=jnp.int32(round(1000 * self.config.drift.fraction)), lifetime=jnp.int32(1000))
        log_ratios, arrays = jnp.log(jnp.asarray(ratios, jnp.float32)), jnp.asarray(advantages, jnp.float32)
        return np.asarray(self.drift(self.theta, log_ratios, arrays, progress), np.float64)

    def points(self, which: int) -> tuple[np.ndarray, np.ndarray]:
        """Ratios and advantages `[points]`: those that are fitted (0), and fresh ones (1)."""
        return _points(self.config.drift, self.config.run.seed, which)

    def goal(self, parsimony: float) -> Callable[[Program], float]:
        """The fitness."""
        points = self.points(0)
        validity = DriftValidity(*(x[:CHECKED] for x in points))
        return Distillation(points, self.values(*points), validity, self.config.drift.weight, parsimony)

    def mutation(self, longest: int) -> Mutation:
        """How structures change."""
        return Mutation(FUNCTIONS, longest=longest)

    def behaviour(self, program: Program) -> bytes:
        """The values at some points."""
        return rounded(expression(program)(*self._told))

    @cached_property
    def _told(self) -> tuple[np.ndarray, np.ndarray]:
        ratios, advantages = (x[:TOLD] for x in self.points(0))
        return np.where(np.arange(len(ratios)) % 2, ratios, 1 + 0.01 * (ratios - 1)), advantages

    def settled(self, program: Program) -> Program:
        """The program without the time, whose value was one."""
        for i, statement in enumerate(program.statements):
            for j, arg in enumerate(statement.args):
                if arg == program.rate:
                    program = program.with_argument(i, j, 1.0)
            if statement.target == program.rate:
                break
        return program

    def usable(self, program: Program) -> bool:
        """Whether its slopes are numbers, where it was fitted and at r = 1, where all learning begins."""
        ratios, advantages = self.points(0)
        drift, progress = ProgramDrift(program), Progress(step=jnp.int32(0), lifetime=jnp.int32(1))
        log_ratios = jnp.asarray(np.concatenate([np.log(ratios), np.zeros(len(ratios))]), jnp.float32)
        slopes = jax.vmap(jax.grad(lambda x, a: drift((), x, a, progress)))
        return bool(jnp.isfinite(slopes(log_ratios, jnp.asarray(np.tile(advantages, 2), jnp.float32))).all())

    def r_squared(self, program: Program) -> float:
        """On fresh points."""
        points = self.points(1)
        return 1 + Distillation(points, self.values(*points), parsimony=0.0)(program)

    def measures(self, program: Program) -> dict[str, float]:
        """On fresh points: R^2, the root of the mean squared error, and the violation beside the drift's own."""
        points, f, r_squared = self.points(1), expression(program), self.r_squared(program)
        deviation, validity = float(np.std(self.values(*points))), DriftValidity(*points)
        return {
            "r_squared": r_squared,
            "rmse": deviation * math.sqrt(1 - r_squared),
            "deviation": deviation,
            "violation": validity(f),
        }

    def text(self, program: Program) -> str:
        """As a formula."""
        return formula(program, "drift")

    def save(self, path: Path, program: Program, **provenance: Any) -> None:
        """As a rule file of a drift."""
        save_rule(path, {}, card_of(ProgramDrift(program), **provenance))

    def draw(self, program: Program, path: Path) -> str:
        """f and the slope of r A - f at two advantages, rule and formula on top of each other; the Markdown."""
        ratios = np.linspace(0.4, 1.8, 238)
        both = {"learned": (self.drift, self.theta), "formula": (ProgramDrift(program), ())}
        looks = {"learned": {"linewidth": 3, "alpha": 0.4}, "formula": {"linewidth": 1.3}}
        with plots.figure(path, columns=2 * len(surface.ADVANTAGES)) as (drawing, axes):
            for column, (what, title) in enumerate(((surface.values, "f"), (surface.slopes, "slope of r A - f"))):
                for row, a in enumerate(surface.ADVANTAGES):
                    axis = axes[0, 2 * column + row]
                    for (name, (drift, theta)), color in zip(both.items(), plots.COLORS, strict=False):
                        line = what(drift, theta, ratios, np.array([a]), self.config.drift.fraction)[0]
                        axis.plot(ratios, line, label=name, color=color, **looks[name])
                    axis.axhline(0, color="#808080", linewidth=0.8)
                    axis.set(title=f"{title}, A = {a:g}", xlabel="ratio r")
            axes[0, 1].set_ylim(axes[0, 0].get_ylim())
            drawing.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right center")
        return image(path.name, "The drift f(r, A), and what is left of the objective's slope under it.")


@cache
def _points(sizes: DriftConfig, seed: int, which: int) -> tuple[np.ndarray, np.ndarray]:
    shift = np.random.default_rng([seed, which]).random((2, 1))
    # evenly spread (a Kronecker sequence): f is largest where points are few, and chance would decide how many
    even = (shift + np.outer(PLASTIC, np.arange(sizes.points))) % 1
    log_ratios, advantages = np.asarray(jax.scipy.special.ndtri(np.clip(even, 1e-6, 1 - 1e-6)), np.float64)
    return np.exp(sizes.spread * log_ratios), advantages


def rounded(values: np.ndarray, digits: int = 4) -> bytes:
    """The values to so many decimals of the largest, as bytes; what is not finite is all the same."""
    known = np.where(np.isfinite(values), values, 0.0)
    size = np.abs(known).max(initial=1e-12)
    return np.where(np.isfinite(values), np.round(known / size, digits) + 0.0, np.nan).tobytes() + b"%.3e" % size
