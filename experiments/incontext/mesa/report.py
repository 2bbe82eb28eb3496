"""Writes report.md and results.json: a table of theory and measurement."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from experiments.incontext.mesa import pictures
from experiments.incontext.mesa.config import MesaConfig
from experiments.incontext.mesa.diagonal_unitary import Evaluation, Variant
from lopt.evaluation import Axis, Interval, bootstrap, image, t_interval, table, write_report, write_results
from lopt.tasks import OneStep
from lopt.training import RunFolder
from lopt.types import Theta

TITLE = "Mesa-optimisation in single attention layers"
Row = tuple[str, str, Any, Any, Any]
"""Model, quantity, theory, exact flow, trained on samples."""


@dataclass(frozen=True)
class DiagonalUnitaryResults:
    """Results of linear attention on diagonal unitary AR sequences.

    Attributes:
        variant: distribution of sequences and model.
        flow_end: weights at the end of the exact gradient flow, `[I, ...]`.
        flow_path: weights along the flow, `[S, I, ...]`.
        trained: weights trained on samples, `[R, I, ...]`.
        evaluation: of the mean over replicas of the trained weights, for the first pair of initial weights.
        flow_evaluation: of the weights at the end of the flow, for the first pair of initial weights.
    """

    variant: Variant
    flow_end: Theta
    flow_path: Theta
    trained: Theta
    evaluation: Evaluation
    flow_evaluation: Evaluation


@dataclass(frozen=True)
class FewShotResults:
    """Results of few-shot attention.

    Attributes:
        theory: the optimal single step.
        theta: trained weights.
        losses: on new regression tasks, `[tasks]`.
    """

    theory: OneStep
    theta: Theta
    losses: np.ndarray

    @property
    def step_size(self) -> float:
        """eta of the trained weights: minus the product of the entries that are not zero in the construction."""
        d = self.theory.dimensions
        return -float(self.theta["pv"][0, d, d] * np.diag(self.theta["kq"][0, :d, :d]).mean())


@dataclass(frozen=True)
class LinearSystemResults:
    """Results on linear systems.

    Attributes:
        losses: by method, losses at every position `[sequences, T]`.
        mesa: trained weights of the mesa-layer.
    """

    losses: dict[str, np.ndarray]
    mesa: Theta


@dataclass(frozen=True)
class Results:
    """Results of a run; `diagonal_unitary` is by the name of the variant."""

    diagonal_unitary: dict[str, DiagonalUnitaryResults]
    few_shot: FewShotResults
    systems: LinearSystemResults


def ratio(samples: np.ndarray) -> Interval:
    """Ratio of the sums of the two columns of `[n, 2]`, with a 95 % bootstrap interval over the rows."""
    return bootstrap(samples, lambda x: x[:, 0].sum() / x[:, 1].sum(), axes=(Axis.CROSSED, Axis.FIXED))


def write(config: MesaConfig, folder: RunFolder, results: Results) -> None:
    """Write results.json, the figures and report.md."""
    rows = [*_diagonal_unitary(config, results), *_few_shot(results.few_shot), *_systems(results.systems)]
    pictures.draw(config, folder, results)
    header = ("", "quantity", "theory", "exact gradient flow", "trained on samples")
    sections = {
        "Theory and measurement": table(header, [[_digits(cell) for cell in row] for row in rows])
        + "\n\n"
        + definitions(config),
        "Exact gradient flow": image(
            "flow.png",
            "Exact gradient flow of a and b from every pair of initial weights (dots), with the theorem's limit "
            "ab = c* (black) and curves of constant a^2 - b^2 (grey).",
        ),
        "Training on samples": pictures.training(
            config, folder, [part.variant for part in results.diagonal_unitary.values()]
        ),
        "Weights": image(
            "weights.png", "W_PV and W_KQ at the end of the exact flow from the first pair of initial weights."
        ),
        "Prediction error": image(
            "errors.png",
            "Squared error relative to the expected square of x by position: theory (lines), end of the exact flow "
            "(points).",
        ),
        "Few-shot regression and linear systems": image(
            "layers.png",
            "Left: training loss of few-shot attention, and the closed form of the optimal single step. Right: loss by "
            "position on linear systems.",
        ),
    }
    names = ("model", "quantity", "theory", "flow", "trained")
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "table": [dict(zip(names, row, strict=True)) for row in rows],
            "relative_error": {name: r.evaluation.errors.mean(0) for name, r in results.diagonal_unitary.items()},
            "systems_loss": {name: x.mean(0) for name, x in results.systems.losses.items()},
        },
    )
    write_report(folder, TITLE, config, sections)


def _digits(cell: Any) -> Any:
    """A number with four significant digits; any other cell as it is."""
    return f"{cell:.4g}" if isinstance(cell, float) else cell


def definitions(config: MesaConfig) -> str:
    """Definitions of the numbers in the report."""
    options = config.diagonal_unitary
    return (
        f"Diagonal unitary AR sequences: d = {options.dimensions}, T = {options.length}, scale {options.scale:g}. "
        "Theory: arXiv 2405.16845, theorem 4.1, with sums over finite T. Exact flow: Runge-Kutta steps on the expected "
        "loss of all weights, which is known in closed form (no sampling). Trained: stochastic gradient descent on new "
        f"sequences, mean and Student's 95 % interval over {options.replicas} replicas. Errors and ratios are measured "
        f"on {config.test_sequences:,} new sequences, for the flow from the first pair of initial weights and for the "
        "mean weights of the replicas from the same pair. Finite step sizes and noisy gradients conserve a^2 - b^2 "
        "only approximately. The distribution 'ones' violates the theorem's condition, and off-diagonal entries leave "
        "zero; in 'ones masked' their gradients are masked. W is recovered if the relative error at the last position "
        "tends to zero: with sparse initial tokens at every T, with ones as T grows, with Gaussian ones never. "
        f"Few-shot attention: the setting of arXiv 2212.07677, d = {config.few_shot.dimensions}, "
        f"N = {config.few_shot.examples}; the closed form is derived here. Linear systems: single layers, trained from "
        "random weights, and ridge regression on the same sequences."
    )


def _diagonal_unitary(config: MesaConfig, results: Results) -> Iterator[Row]:
    for name, part in results.diagonal_unitary.items():
        task, variant = part.variant.task, part.variant
        limit = task.limit_product()
        covered = name != "ones"  # by the theorem
        products, differences = _invariants(variant, part.trained)
        flow_products, flow_differences = _invariants(variant, part.flow_end)
        for i, (a, b) in enumerate(config.diagonal_unitary.initial_weights):
            model = f"{name} from ({a:g}, {b:g})"
            yield model, "ab", limit if covered else "-", float(flow_products[i]), t_interval(products[:, i])
            delta = a * a - b * b if covered else "-"
            yield model, "a^2 - b^2", delta, float(flow_differences[i]), t_interval(differences[:, i])
        for j, quantity in enumerate(("largest off-diagonal entry, same blocks", "largest entry, other blocks")):
            thetas = _unstack(part.flow_end), _unstack(part.trained, 2)
            flow, trained = ([variant.largest_off_diagonal(theta)[j] for theta in group] for group in thetas)
            theory = 0.0 if covered or j else "-"
            yield name, quantity, theory, float(max(flow)), float(np.mean(trained))
        yield name, "c* by regression on the one-step prediction", limit, "-", ratio(part.evaluation.slopes)
        evaluations = part.flow_evaluation, part.evaluation
        error = float(task.relative_error(limit)[-1]) if covered else "-"
        of_flow, of_trained = (t_interval(x.errors[:, -1]) for x in evaluations)
        yield name, "relative error at t = T - 1", error, of_flow, of_trained
        mean_ratio = limit * variant.nonzero_second_moment if covered else "-"
        of_flow, of_trained = (t_interval(x.ratios) for x in evaluations)
        yield name, "prediction / target at t = T - 1", mean_ratio, of_flow, of_trained


def _unstack(theta: Theta, axes: int = 1) -> list[Theta]:
    """A list of the weights along the first `axes` leading axes."""
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[axes:]), theta)
    return [jax.tree.map(lambda x, i=i: x[i], flat) for i in range(len(flat["pv"]))]


def _invariants(variant: Variant, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
    """ab and a^2 - b^2 of weights with any leading axes, where a and b are means over the diagonals."""
    d = variant.task.dimensions
    a = np.einsum("...ii->...i", np.asarray(theta["kq"], np.float64)[..., d:, :d]).mean(-1)
    b = np.einsum("...ii->...i", np.asarray(theta["pv"], np.float64)[..., :d]).mean(-1)
    return a * b, a * a - b * b


def _few_shot(results: FewShotResults) -> Iterator[Row]:
    theory = results.theory
    yield "few-shot attention", "step size eta", theory.step_size, "-", results.step_size
    yield "few-shot attention", "loss", theory.loss(theory.step_size), "-", t_interval(results.losses)


def _systems(results: LinearSystemResults) -> Iterator[Row]:
    ridge = results.losses["ridge regression"]
    for name in ("linear attention", "mesa-layer"):
        for quantity, t in (("last loss", -1), ("mean loss", slice(None))):
            losses, theory = (x[:, t].reshape(len(ridge), -1).mean(1) for x in (results.losses[name], ridge))
            yield (
                f"{name} on linear systems",
                f"{quantity} (theory: ridge)",
                t_interval(theory),
                "-",
                t_interval(losses),
            )
