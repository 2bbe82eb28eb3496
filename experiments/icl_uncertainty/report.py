"""report.md and results.json: models beside exact references, position by position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.common.folder import RunFolder
from experiments.common.report import curves, image, table, write_report, write_results
from experiments.common.stats import Interval, bootstrap, mean, paired_difference
from experiments.icl_uncertainty import pictures
from experiments.icl_uncertainty.build import LONGER, TRAINING
from experiments.icl_uncertainty.config import StudyConfig
from experiments.icl_uncertainty.measure import Predicted

OWN = "its own pool"
RANDOM = "random labels"
TITLE = "Regression in context, beside the exact posterior"


@dataclass(frozen=True)
class Found:
    """Predictions.

    Attributes:
        models: by model and distribution.
        references: by distribution and rule; the first rule is the exact one.
        pools: by model that has a pool, by distribution, by rule: the posterior over the pool ("pool"), and on the
            model's own pool also the exact reference.
    """

    models: dict[str, dict[str, Predicted]]
    references: dict[str, dict[str, Predicted]]
    pools: dict[str, dict[str, dict[str, Predicted]]]

    @property
    def exact(self) -> str:
        """The name of the exact reference."""
        return next(iter(self.references[TRAINING]))

    def distances(self, late: int) -> list[tuple[str, str, Interval | None, Interval]]:
        """Model, distribution, mean squared distances to the posterior over its pool and to the one over all functions.

        In units of the mean square of y.
        """
        unit = np.square(self.references[TRAINING][self.exact].ys).mean()
        rows = []
        for who, by in self.models.items():
            pools = self.pools.get(who, {})
            for on in (TRAINING, OWN) if pools else (TRAINING,):
                everything = (self.references if on == TRAINING else pools)[on][self.exact]

                def distance(reference: Predicted, ours: Predicted = by[on]) -> Interval:
                    return bootstrap(late_mean(np.square(ours.mean - reference.mean), late) / unit, mean)

                label = "new functions" if on == TRAINING else on
                rows.append((who, label, distance(pools[on]["pool"]) if pools else None, distance(everything)))
        return rows


def write(config: StudyConfig, folder: RunFolder, found: Found) -> None:
    """Write everything that shows the result."""
    late = config.eval.late
    uncertain = config.task.objective == "mean_and_std"
    sections = {"On new functions": _in_distribution(config, found) + "\n\n" + reading(config, found)}
    pictures.positions(folder, found, uncertain)
    sections["By position"] = image("positions.png", "Means over sequences, by the number of examples seen before.")
    if uncertain:
        pictures.calibration(folder, found, late)
        sections["Calibration"] = image(
            "calibration.png",
            "How often y is within the central interval that a Gaussian of y_hat, sigma_hat gives it.",
        )
    sections["Under shifts"] = _shifts(config, found, uncertain)
    pictures.shifts(folder, found, uncertain)
    sections["Shifts by position"] = image(
        "shifts.png", f"Models (colours) and {found.exact} with the prior of training (black)."
    )
    if found.pools:
        sections["From pools to all functions"] = _diversity(found, late)
        pictures.diversity(folder, found, late)
        sections["The transition"] = image(
            "diversity.png",
            "Mean squared distance of a model's predictions to the posterior over its pool and to the one over all "
            f"functions, over the mean square of y, after {late} examples and more.",
        )
    if drawn := learning(config, folder, list(found.models), found.exact):
        sections["Training"] = drawn
    write_results(folder, {"seed": config.run.seed, **_data(found, late, uncertain)})
    write_report(folder, TITLE, config, sections)


def reading(config: StudyConfig, found: Found) -> str:
    """What the numbers are."""
    here = config.task
    text = (
        f"Means over {config.eval.sequences:,} sequences of new functions, and over the positions with "
        f"{config.eval.late} examples or more before them, with 95 % bootstrap intervals over the sequences; "
        f"differences are paired. {found.exact}: the exact "
    )
    text += (
        "posterior under the prior of training" if min(here.noises) > 0 else "answer from d examples on, without noise"
    )
    if here.objective == "mean_and_std":
        text += (
            ". Loss: log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2). Covered: y within 1.645 sigma_hat of y_hat "
            "(0.90 for a Gaussian; the posterior is a mixture of Gaussians)."
        )
    else:
        text += ". Error: (y - y_hat)^2. Descent: with the step size that is best on average over the positions."
    return text


def late_mean(values: np.ndarray, late: int) -> np.ndarray:
    """By sequence, over the late positions."""
    return values[:, late:].mean(1)


def _in_distribution(config: StudyConfig, found: Found) -> str:
    late, exact = config.eval.late, found.references[TRAINING][found.exact]
    everyone = {who: by[TRAINING] for who, by in found.models.items()} | found.references[TRAINING]
    rows = []
    for who, p in everyone.items():
        row: list[Any] = [who, bootstrap(late_mean(p.squared_error, late), mean)]
        row.append(_gap(p.squared_error, exact.squared_error, late) if p is not exact else "-")
        row.append(float(late_mean(np.abs(p.mean - exact.mean), late).mean()))
        if config.task.objective == "mean_and_std":
            has = np.isfinite(p.std).all()
            row += [bootstrap(late_mean(p.loss, late), mean) if has else "-"]
            row += [_gap(p.loss, exact.loss, late) if has and p is not exact else "-"]
            row += [f"{late_mean(p.std, late).mean():.3f}" if has else "-"]
            row += [f"{late_mean(np.abs(p.std - exact.std), late).mean():.3f}" if has else "-"]
            row += [f"{late_mean(p.covered, late).mean():.3f}" if has else "-"]
        rows.append(row)
    name = found.exact
    header = ["", "squared error", f"minus that of {name}", f"mean distance of y_hat to {name}"]
    if config.task.objective == "mean_and_std":
        header += ["loss", f"minus that of {name}", "sigma_hat", f"mean distance to {name}", "covered"]
    return table(header, rows)


def _gap(one: np.ndarray, other: np.ndarray, late: int) -> Interval:
    return paired_difference(late_mean(one, late), late_mean(other, late))


def _shifts(config: StudyConfig, found: Found, uncertain: bool) -> str:
    late, rows = config.eval.late, []
    for shift, rules in found.references.items():
        exact = rules[found.exact]
        for who, by in found.models.items():
            p = by[shift]
            row: list[Any] = [shift, who, bootstrap(late_mean(p.squared_error, late), mean)]
            row.append(_gap(p.squared_error, exact.squared_error, late))
            if uncertain:
                row.append(_gap(p.loss, exact.loss, late))
                row += [float(late_mean(x.std, late).mean()) for x in (p, exact)]
                row += [float(late_mean(x.covered, late).mean()) for x in (p, exact)]
            rows.append(row)
    name = found.exact
    header = ["sequences", "model", "squared error", f"minus that of {name}"]
    if uncertain:
        header += [f"loss minus that of {name}", "sigma_hat", f"of {name}", "covered", f"by {name}"]
    return table(header, rows) + (
        f"\n\n{name} keeps the prior of training. '{LONGER}' reaches positions that no training had; all its positions "
        f"from {late} on count. '{RANDOM}': every sequence has the labels of another."
    )


def _diversity(found: Found, late: int) -> str:
    rows = []
    for who, on, to_pool, to_all in found.distances(late):
        pool = to_pool if to_pool is not None else "-"
        nearer = "-" if to_pool is None else ("pool" if to_pool.value < to_all.value else "all functions")
        rows.append((who, on, pool, to_all, nearer))
    header = ("trained on", "measured on", "distance to the posterior over the pool", f"to {found.exact}", "nearer to")
    return table(header, rows)


def learning(config: StudyConfig, folder: RunFolder, names: Sequence[str], exact: str) -> str:
    """Draw the learning curves of the models of these names; the Markdown that shows them."""
    squared = f"squared error, late, minus {exact}'s"
    measures = {"loss of the training's sequences": "loss", squared: "excess_squared_error"}
    if config.task.objective == "mean_and_std":
        measures[f"loss, late, minus {exact}'s"] = "excess_loss"
    return curves(folder, {text: {f"{n}/{what}": n for n in names} for text, what in measures.items()}, "step")


def _data(found: Found, late: int, uncertain: bool) -> dict[str, Any]:
    """Everything by position, as numbers."""

    def positions(p: Predicted) -> dict[str, np.ndarray]:
        curve = {"squared_error": p.squared_error.mean(0)}
        if np.isfinite(p.std).all():
            curve |= {"loss": p.loss.mean(0), "std": p.std.mean(0), "covered": p.covered.mean(0)}
        return curve

    data: dict[str, Any] = {
        "models": {who: {name: positions(p) for name, p in by.items()} for who, by in found.models.items()},
        "references": {name: {who: positions(p) for who, p in by.items()} for name, by in found.references.items()},
    }
    exact = found.references[TRAINING][found.exact]
    data["excess_late"] = {
        who: _gap(
            by[TRAINING].loss if uncertain else by[TRAINING].squared_error,
            exact.loss if uncertain else exact.squared_error,
            late,
        )
        for who, by in found.models.items()
    }
    if found.pools:
        data["distances"] = [
            {"model": who, "on": on, "pool": pool, "all": to_all} for who, on, pool, to_all in found.distances(late)
        ]
    return data
