"""Report and results of meta-training the normalised rule."""

from collections.abc import Mapping

import numpy as np

from experiments.optimizer.normalised.config import NormalisedStudyConfig
from experiments.optimizer.normalised.measure import BASELINES, INITIAL, LEARNED, Result, best_baseline
from lopt.evaluation import (
    Axis,
    Interval,
    bootstrap,
    curves,
    image,
    mean,
    paired_difference,
    plots,
    table,
    write_report,
    write_results,
)
from lopt.training import NONFINITE, RunFolder

Results = Mapping[str, dict[str, Result]]
"""Results by task (`digits:200`) and optimizer."""


def title(config: NormalisedStudyConfig) -> str:
    """Title of the report."""
    return f"A learned optimizer with normalised inputs and steps, trained on {len(config.training.tasks)} tasks"


def learning_curves(config: NormalisedStudyConfig, folder: RunFolder) -> str:
    """Draw the learning curves of meta-training as `curves.png`; returns Markdown that shows them."""
    panels = {
        "validation: log10 of the held-out loss": {f"validation/{name}": name for name in config.eval.validation},
        "meta-loss of the tasks": {f"{name}/meta_loss": name for name in config.training.tasks},
        "norm of the gradient estimate": {"gradient_norm": "norm"},
        "fraction of non-finite pairs": {NONFINITE: "non-finite"},
    }
    return curves(folder, panels, "meta-step")


def log_ratio(row: Mapping[str, Result], first: str, second: str) -> Interval:
    """Mean of log10(held-out loss of `first` / that of `second`), paired by seed."""
    logs = [np.log10(np.maximum(row[name].losses, 1e-12)) for name in (first, second)]
    return paired_difference(*logs)


def over_rules(row: Mapping[str, Result], other: str) -> Interval:
    """Mean of log10(held-out loss of a trained rule / that of `other`), with an interval over rules and learners.

    The trained rules are those of several meta-training seeds; all have the same learners.
    """
    logs = {name: np.log10(np.maximum(result.losses, 1e-12)) for name, result in row.items()}
    differences = np.stack([logs[name] - logs[other] for name in trained_rules(row)])
    return bootstrap(differences, mean, axes=(Axis.CROSSED, Axis.CROSSED))


def trained_rules(row: Mapping[str, Result]) -> list[str]:
    """Names of the rules that were meta-trained."""
    return [name for name in row if name not in BASELINES and name != INITIAL]


def conclusion(results: Results) -> str:
    """On how many tests the trained rules are better or worse than the best baseline, in one sentence."""
    gaps = [over_rules(row, best_baseline(row)) for row in results.values() if trained_rules(row)]
    better, worse = sum(gap.high < 0 for gap in gaps), sum(gap.low > 0 for gap in gaps)
    return (
        f"**The trained rule is better than the best of {len(BASELINES)} tuned baselines on {better} of {len(gaps)} "
        f"tests, worse on {worse}, and not distinguishable on the others (95 % intervals).**"
    )


def write(config: NormalisedStudyConfig, folder: RunFolder, results: Results) -> None:
    """Write `report.md`, `results.json` and the pictures."""
    sections = {"Against the best baseline": summary(results)}
    ratios = {
        task: {name: log_ratio(row, name, "Adam") for name in row if name != "Adam"} for task, row in results.items()
    }
    sections["All optimizers"] = table(
        ("task", "optimizer", "held-out loss", "log10 ratio to Adam", "learning rate"),
        [
            (task, name, bootstrap(r.losses, mean), ratios[task].get(name, "-"))
            + (f"{r.rates[r.best]:.2g}{', at the edge' if r.at_edge else ''}",)
            for task, row in results.items()
            for name, r in row.items()
        ],
    )
    sections["Protocol"] = protocol(config)
    plots.intervals(ratios, folder.file("table.png"), "log10 of the loss relative to tuned Adam's", zero=True)
    picture = image(
        "table.png", "Mean of log10(held-out loss / that of tuned Adam), paired by seed; negative is better than Adam."
    )
    if drawn := learning_curves(config, folder):
        sections["Meta-training"] = drawn
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "held_out_loss": {
                task: {name: bootstrap(r.losses, mean) for name, r in row.items()} for task, row in results.items()
            },
            "log10_ratio_to_adam": ratios,
            "log10_ratio_to_best_baseline": {
                task: {name: log_ratio(row, name, best_baseline(row)) for name in row if name not in BASELINES}
                for task, row in results.items()
            },
            "trained_rules": {
                task: {other: over_rules(row, other) for other in (best_baseline(row), "Adam", INITIAL)}
                for task, row in results.items()
                if len(trained_rules(row)) > 1
            },
            "best_baseline": {task: best_baseline(row) for task, row in results.items()},
            "tuned_rates": {
                task: {name: float(r.rates[r.best]) for name, r in row.items()} for task, row in results.items()
            },
            "tuning": {
                task: {name: {"rates": r.rates, "losses": r.tuning} for name, r in row.items()}
                for task, row in results.items()
            },
            "per_seed": {task: {name: r.losses for name, r in row.items()} for task, row in results.items()},
        },
    )
    write_report(folder, title(config), config, sections, f"{conclusion(results)}\n\n{picture}")


def summary(results: Results) -> str:
    """Learned and initial rule beside the best baseline of each task, as a table."""
    rows = []
    for task, row in results.items():
        best = best_baseline(row)
        for name in row:
            if name not in BASELINES:
                minus_initial = "-" if name == INITIAL else str(log_ratio(row, name, INITIAL))
                rows.append((task, name, best, log_ratio(row, name, best), minus_initial))
    header = ("task", "rule", "best baseline", "log10 ratio to it", "log10 ratio to the initial rule")
    note = (
        "Negative is better than the baseline. Intervals are over learners under one trained rule; meta-training with "
        "another seed gives another rule. "
        f"'{INITIAL}' is Adam (b2 = 0.95) with normalised steps, '{LEARNED}' the rule after meta-training."
    )
    text = f"{table(header, rows)}\n\n{note}"
    number = min(len(trained_rules(row)) for row in results.values())
    if number < 2:
        return text
    together = [
        (task, best_baseline(row), *(over_rules(row, other) for other in (best_baseline(row), "Adam", INITIAL)))
        for task, row in results.items()
    ]
    header = ("task", "best baseline", "log10 ratio to it", "to Adam", "to the initial rule")
    return (
        f"The {number} trained rules together, with intervals over rules and learners:\n\n{table(header, together)}"
        f"\n\nEach rule alone:\n\n{text}"
    )


def protocol(config: NormalisedStudyConfig) -> str:
    """The protocol of the comparison, as text."""
    sizes = config.eval
    return (
        "Held-out loss after the number of updates behind the task's name, mean over "
        f"{sizes.seeds} learners with 95 % bootstrap intervals. All optimizers, the learned ones included, had a "
        f"cosine schedule to zero and were tuned on each task over {sizes.rates} peak learning rates between "
        f"{sizes.smallest_rate:g} and {sizes.largest_rate:g} (times "
        + ", ".join(f"{b.grid:g} for {name}" for name, b in BASELINES.items() if b.grid != 1)
        + f"), by the mean loss over {sizes.tuning_seeds} other learners, and all had the same initial learners and "
        "minibatches. The best baseline of a task is that with the smallest loss in the tuning. Nothing else of a "
        "baseline was tuned. The loss of a diverged learner is 10 times its initial loss."
    )
