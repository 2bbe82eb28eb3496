"""Writes report.md and results.json: models compared with exact references at every position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.incontext.uncertainty import pictures
from experiments.incontext.uncertainty.build import LONGER, TRAINING
from experiments.incontext.uncertainty.config import StudyConfig
from lopt.evaluation import (
    Interval,
    bootstrap,
    curves,
    image,
    mean,
    paired_difference,
    table,
    write_report,
    write_results,
)
from lopt.evaluation.regression import Predictions
from lopt.training import RunFolder

OWN_POOL = "its own pool"
"""Name of the test distribution of new sequences from the functions of the model's own pool."""
RANDOM = "random labels"
"""Name of the test distribution in which every sequence has the labels of another."""
TITLE = "In-context regression and the exact posterior"


@dataclass(frozen=True)
class Results:
    """Predictions of models and references on all test distributions.

    Attributes:
        models: by model and distribution.
        references: by distribution and method; the first method is the exact reference.
        pools: by model with a pool, distribution and method: the posterior over the pool ("pool"), and on the model's
            own pool also the exact reference.
    """

    models: dict[str, dict[str, Predictions]]
    references: dict[str, dict[str, Predictions]]
    pools: dict[str, dict[str, dict[str, Predictions]]]

    @property
    def exact(self) -> str:
        """The name of the exact reference."""
        return next(iter(self.references[TRAINING]))

    def distances(self, min_examples: int) -> list[tuple[str, str, Interval | None, Interval]]:
        """Mean squared distances of the models' predictions to the two posteriors, relative to the mean square of y.

        Args:
            min_examples: only positions with at least this many earlier examples count.

        Returns:
            Rows of model, distribution, distance to the posterior over the model's pool (None without a pool), and
            distance to the posterior over all functions.
        """
        unit = np.square(self.references[TRAINING][self.exact].ys).mean()
        rows = []
        for model, by_shift in self.models.items():
            pools = self.pools.get(model, {})
            for shift in (TRAINING, OWN_POOL) if pools else (TRAINING,):
                exact = (self.references if shift == TRAINING else pools)[shift][self.exact]

                def distance(reference: Predictions, predictions: Predictions = by_shift[shift]) -> Interval:
                    squares = np.square(predictions.mean - reference.mean)
                    return bootstrap(tail_mean(squares, min_examples) / unit, mean)

                label = "new functions" if shift == TRAINING else shift
                rows.append((model, label, distance(pools[shift]["pool"]) if pools else None, distance(exact)))
        return rows


def write(config: StudyConfig, folder: RunFolder, results: Results) -> None:
    """Write results.json, the figures and report.md."""
    min_examples = config.eval.min_examples
    uncertain = config.task.objective == "mean_and_std"
    sections = {"On new functions": _in_distribution(config, results) + "\n\n" + definitions(config, results)}
    pictures.positions(folder, results, uncertain)
    sections["By position"] = image("positions.png", "Means over sequences, by the number of examples in the context.")
    if uncertain:
        pictures.calibration(folder, results, min_examples)
        sections["Calibration"] = image(
            "calibration.png",
            "Observed frequency of y in the central interval of N(y_hat, sigma_hat^2), by its nominal probability.",
        )
    sections["Distribution shifts"] = _shifts(config, results, uncertain)
    pictures.shifts(folder, results, uncertain)
    sections["Distribution shifts by position"] = image(
        "shifts.png", f"Models (colours) and {results.exact} with the training prior (black)."
    )
    if results.pools:
        sections["Task diversity"] = _diversity(results, min_examples)
        pictures.diversity(folder, results, min_examples)
        sections["Transition"] = image(
            "diversity.png",
            "Mean squared distance of a model's predictions to the posterior over its pool and to the posterior over "
            f"all functions, relative to the mean square of y, at positions with at least {min_examples} earlier "
            "examples.",
        )
    if figure := learning_curves(config, folder, list(results.models), results.exact):
        sections["Training"] = figure
    write_results(folder, {"seed": config.run.seed, **_data(results, min_examples, uncertain)})
    write_report(folder, TITLE, config, sections)


def definitions(config: StudyConfig, results: Results) -> str:
    """Definitions of the numbers in the report."""
    noisy = min(config.task.noises) > 0
    text = (
        f"Means over {config.eval.sequences:,} sequences of new functions and over the positions with at least "
        f"{config.eval.min_examples} earlier examples, with 95 % bootstrap intervals over sequences; differences are "
        f"paired. {results.exact}: the exact "
    )
    text += "posterior under the training prior" if noisy else "solution from d examples on, since there is no noise"
    if config.task.objective == "mean_and_std":
        text += (
            ". Loss: log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2). Coverage: fraction of y within 1.645 sigma_hat "
            "of y_hat (0.90 for a Gaussian; the posterior is a mixture of Gaussians)."
        )
    else:
        text += ". Error: (y - y_hat)^2. Gradient descent: with the step size of least mean error over positions."
    return text


def tail_mean(values: np.ndarray, min_examples: int) -> np.ndarray:
    """Means `[n]` of values `[n, T]` over the positions with at least `min_examples` earlier examples."""
    return values[:, min_examples:].mean(1)


def _in_distribution(config: StudyConfig, results: Results) -> str:
    n, exact = config.eval.min_examples, results.references[TRAINING][results.exact]
    predictions = {model: by_shift[TRAINING] for model, by_shift in results.models.items()}
    rows = []
    for method, p in (predictions | results.references[TRAINING]).items():
        row: list[Any] = [method, bootstrap(tail_mean(p.squared_error, n), mean)]
        row.append(_difference(p.squared_error, exact.squared_error, n) if p is not exact else "-")
        row.append(float(tail_mean(np.abs(p.mean - exact.mean), n).mean()))
        if config.task.objective == "mean_and_std":
            has_std = np.isfinite(p.std).all()
            row += [bootstrap(tail_mean(p.loss, n), mean) if has_std else "-"]
            row += [_difference(p.loss, exact.loss, n) if has_std and p is not exact else "-"]
            row += [f"{tail_mean(p.std, n).mean():.3f}" if has_std else "-"]
            row += [f"{tail_mean(np.abs(p.std - exact.std), n).mean():.3f}" if has_std else "-"]
            row += [f"{tail_mean(p.coverage, n).mean():.3f}" if has_std else "-"]
        rows.append(row)
    name = results.exact
    header = ["", "squared error", f"minus that of {name}", f"mean distance of y_hat to {name}"]
    if config.task.objective == "mean_and_std":
        header += ["loss", f"minus that of {name}", "sigma_hat", f"mean distance to {name}", "coverage"]
    return table(header, rows)


def _difference(values: np.ndarray, reference: np.ndarray, min_examples: int) -> Interval:
    return paired_difference(tail_mean(values, min_examples), tail_mean(reference, min_examples))


def _shifts(config: StudyConfig, results: Results, uncertain: bool) -> str:
    n, rows = config.eval.min_examples, []
    for shift, by_method in results.references.items():
        exact = by_method[results.exact]
        for model, by_shift in results.models.items():
            p = by_shift[shift]
            row: list[Any] = [shift, model, bootstrap(tail_mean(p.squared_error, n), mean)]
            row.append(_difference(p.squared_error, exact.squared_error, n))
            if uncertain:
                row.append(_difference(p.loss, exact.loss, n))
                row += [float(tail_mean(x.std, n).mean()) for x in (p, exact)]
                row += [float(tail_mean(x.coverage, n).mean()) for x in (p, exact)]
            rows.append(row)
    name = results.exact
    header = ["sequences", "model", "squared error", f"minus that of {name}"]
    if uncertain:
        header += [f"loss minus that of {name}", "sigma_hat", f"of {name}", "coverage", f"of {name}"]
    return table(header, rows) + (
        f"\n\n{name} keeps the training prior. '{LONGER}' has positions that do not occur in training; all of them "
        f"count. '{RANDOM}': every sequence has the labels of another."
    )


def _diversity(results: Results, min_examples: int) -> str:
    rows = []
    for model, shift, to_pool, to_all in results.distances(min_examples):
        pool = to_pool if to_pool is not None else "-"
        nearer = "-" if to_pool is None else ("pool" if to_pool.value < to_all.value else "all functions")
        rows.append((model, shift, pool, to_all, nearer))
    header = ("trained on", "evaluated on", "distance to the posterior over the pool", f"to {results.exact}", "nearer")
    return table(header, rows)


def learning_curves(config: StudyConfig, folder: RunFolder, names: Sequence[str], exact: str) -> str:
    """Draw curves.png from the logged metrics, and return the Markdown that shows it; empty without metrics.

    Args:
        config: configuration of the run.
        folder: its folder.
        names: names of the models.
        exact: name of the exact reference.
    """
    n = config.eval.min_examples
    metrics = {"training loss": "loss", f"squared error minus {exact}'s, {n}+ examples": "excess_squared_error"}
    if config.task.objective == "mean_and_std":
        metrics[f"loss minus {exact}'s, {n}+ examples"] = "excess_loss"
    panels = {title: {f"{name}/{metric}": name for name in names} for title, metric in metrics.items()}
    return curves(folder, panels, "step")


def _data(results: Results, min_examples: int, uncertain: bool) -> dict[str, Any]:
    """The contents of results.json: means by position, excess losses, and distances to the posteriors."""

    def by_position(p: Predictions) -> dict[str, np.ndarray]:
        curve = {"squared_error": p.squared_error.mean(0)}
        if np.isfinite(p.std).all():
            curve |= {"loss": p.loss.mean(0), "std": p.std.mean(0), "coverage": p.coverage.mean(0)}
        return curve

    def nested(predictions: dict[str, dict[str, Predictions]]) -> dict[str, Any]:
        return {outer: {inner: by_position(p) for inner, p in d.items()} for outer, d in predictions.items()}

    data: dict[str, Any] = {"models": nested(results.models), "references": nested(results.references)}
    exact = results.references[TRAINING][results.exact]
    data["excess"] = {
        model: _difference(
            by_shift[TRAINING].loss if uncertain else by_shift[TRAINING].squared_error,
            exact.loss if uncertain else exact.squared_error,
            min_examples,
        )
        for model, by_shift in results.models.items()
    }
    if results.pools:
        data["distances"] = [
            {"model": model, "on": shift, "pool": pool, "all": to_all}
            for model, shift, pool, to_all in results.distances(min_examples)
        ]
    return data
