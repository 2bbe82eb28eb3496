"""report.md and results.json: theory against measurement."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import stats

from experiments.common.folder import RunFolder
from experiments.common.report import image, table, write_report, write_results
from experiments.common.stats import Interval
from experiments.mesa import pictures
from experiments.mesa.config import MesaConfig
from experiments.mesa.rotations import Tested, Variant
from lopt.tasks import OneStep
from lopt.types import Theta

TITLE = "What single layers of attention become"
Row = tuple[str, str, Any, Any, Any]


@dataclass(frozen=True)
class Flowed:
    """Linear attention on rotations: the exact flow's weights `[I, ...]` and path `[S, I, ...]`, the trained weights
    `[R, I, ...]`, and their mean over the replicas, from the first init, on fresh sequences, as also the flow's.
    """

    variant: Variant
    last: Theta
    path: Theta
    trained: Theta
    tested: Tested
    flow_tested: Tested


@dataclass(frozen=True)
class Stepped:
    """Few-shot attention: its theory, its weights, its losses on fresh regressions."""

    theory: OneStep
    theta: Theta
    losses: np.ndarray

    @property
    def step_size(self) -> float:
        """eta of the trained weights: minus the product of the entries that the construction uses."""
        d = self.theory.dimensions
        return -float(self.theta["pv"][0, d, d] * np.diag(self.theta["kq"][0, :d, :d]).mean())


@dataclass(frozen=True)
class Solved:
    """Linear systems: losses by position `[sequences, T]` by who predicts, and the mesa-layer's weights."""

    losses: dict[str, np.ndarray]
    mesa: Theta


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    rotations: dict[str, Flowed]
    few_shot: Stepped
    systems: Solved


def interval(samples: np.ndarray) -> Interval:
    """The mean with Student's 95 % interval."""
    samples = np.asarray(samples, np.float64)
    half = stats.t.ppf(0.975, len(samples) - 1) * samples.std(ddof=1) / len(samples) ** 0.5
    return Interval(float(samples.mean()), float(samples.mean() - half), float(samples.mean() + half))


def ratio(samples: np.ndarray) -> Interval:
    """sum of the first column over that of the second, with an interval by the delta method."""
    value = samples[:, 0].sum() / samples[:, 1].sum()
    around = interval((samples[:, 0] - value * samples[:, 1]) / samples[:, 1].mean())
    return Interval(value, value + around.low, value + around.high)


def write(config: MesaConfig, folder: RunFolder, found: Found) -> None:
    """Write everything that shows the result."""
    rows = [*_rotations(config, found), *_few_shot(found.few_shot), *_systems(found.systems)]
    pictures.draw(config, folder, found)
    header = ("", "quantity", "theory", "exact gradient flow", "trained on samples")
    sections = {
        "Theory against measurement": table(header, [[_digits(cell) for cell in row] for row in rows])
        + "\n\n"
        + reading(config),
        "The two numbers a layer learns": image(
            "flow.png",
            "Exact gradient flow of a and b from three starts; the theorem's curves ab = c* (black) and constant "
            "a^2 - b^2 (grey).",
        ),
        "Training on samples": pictures.training(config, folder, [f.variant for f in found.rotations.values()]),
        "The weights": image("weights.png", "W_PV above W_KQ at the end of the exact flow from the first start."),
        "Recovering W": image(
            "errors.png",
            "Squared error over the expected square of x by position: theory as lines, the exact flow's end as points.",
        ),
        "One step of gradient descent, and all of them": image(
            "layers.png",
            "Left: few-shot attention's loss in training and the closed form of the best single step. Right: loss by "
            "position on linear systems.",
        ),
    }
    names = ("model", "quantity", "theory", "flow", "trained")
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "table": [dict(zip(names, row, strict=True)) for row in rows],
            "relative_error": {name: f.tested.errors.mean(0) for name, f in found.rotations.items()},
            "systems_loss": {name: x.mean(0) for name, x in found.systems.losses.items()},
        },
    )
    write_report(folder, TITLE, config, sections)


def _digits(cell: Any) -> Any:
    return f"{cell:.4g}" if isinstance(cell, float) else cell


def reading(config: MesaConfig) -> str:
    """What the numbers are."""
    here = config.rotations
    return (
        f"Rotations: d = {here.dimensions}, T = {here.length}, scale {here.scale:g}. Theory: arXiv 2405.16845, theorem "
        "4.1, with sums over finite T. Exact flow: Runge-Kutta on the expected loss over all weights, which is known "
        "in closed form (no sampling). Trained: stochastic gradient descent on fresh sequences, mean and Student's "
        f"95 % interval over {here.replicas} replicas; errors, the flow's and those of the replicas' mean weights, are "
        f"measured from the first init on {config.test_sequences:,} fresh sequences. Steps of finite size and noisy "
        "gradients do not quite conserve a^2 - b^2. All ones breaks the theorem's condition: entries beside the "
        "diagonals leave zero; 'ones clipped' holds them there. W is recovered where the error at the end is near "
        "zero: with sparse starts at any T, with all ones as T grows, with Gaussian starts never. Few-shot attention: "
        f"the setting of arXiv 2212.07677, d = {config.few_shot.dimensions}, N = {config.few_shot.examples}; the "
        "closed form was derived for this study. Linear systems: one layer each, trained from random weights, beside "
        "ridge regression on the same sequences."
    )


def _rotations(config: MesaConfig, found: Found) -> Iterator[Row]:
    for name, f in found.rotations.items():
        task, limit = f.variant.task, f.variant.task.limit_product()
        covered = name != "ones"
        products, differences = _products(f, f.trained)
        exact, conserved = _products(f, f.last)
        for i, (a, b) in enumerate(config.rotations.inits):
            start = f"{name} from ({a:g}, {b:g})"
            yield start, "ab", limit if covered else "-", float(exact[i]), interval(products[:, i])
            delta = a * a - b * b if covered else "-"
            yield start, "a^2 - b^2", delta, float(conserved[i]), interval(differences[:, i])
        for j, what in enumerate(("beside the diagonals, same blocks", "in other blocks")):
            flowed, trained = ([f.variant.outside(t)[j] for t in each] for each in (_each(f.last), _each(f.trained, 2)))
            theory = 0.0 if covered or j else "-"
            yield name, f"greatest entry {what}", theory, float(max(flowed)), float(np.mean(trained))
        yield name, "c* by regression on A", limit, "-", ratio(f.tested.slopes)
        end = float(task.relative_error(limit)[-1]) if covered else "-"
        errors = (interval(x.errors[:, -1]) for x in (f.flow_tested, f.tested))
        yield name, "relative error at the end", end, *errors
        share = limit * f.variant.square if covered else "-"
        ratios = (interval(x.ratios) for x in (f.flow_tested, f.tested))
        yield name, "prediction / truth at the end", share, *ratios


def _each(theta: Theta, axes: int = 1) -> list[Theta]:
    """The weights one by one."""
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[axes:]), theta)
    return [jax.tree.map(lambda x, i=i: x[i], flat) for i in range(len(flat["pv"]))]


def _products(f: Flowed, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
    """ab and a^2 - b^2, means over the diagonals, of weights with any leading axes."""
    d = f.variant.task.dimensions
    a = np.einsum("...ii->...i", np.asarray(theta["kq"], np.float64)[..., d:, :d]).mean(-1)
    b = np.einsum("...ii->...i", np.asarray(theta["pv"], np.float64)[..., :d]).mean(-1)
    return a * b, a * a - b * b


def _few_shot(found: Stepped) -> Iterator[Row]:
    theory = found.theory
    yield "few-shot attention", "step size eta", theory.step_size, "-", found.step_size
    yield "few-shot attention", "loss", theory.loss(theory.step_size), "-", interval(found.losses)


def _systems(found: Solved) -> Iterator[Row]:
    best = found.losses["ridge regression"]
    for name in ("linear attention", "mesa-layer"):
        for where, t in (("at the end", -1), ("in the mean", slice(None))):
            values = found.losses[name][:, t].reshape(len(best), -1).mean(1)
            exact = best[:, t].reshape(len(best), -1).mean(1)
            yield f"{name} on linear systems", f"loss {where} (theory: ridge)", interval(exact), "-", interval(values)
