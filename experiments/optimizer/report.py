"""Report, results and pictures of meta-training an optimizer."""

from collections.abc import Mapping

import numpy as np

from experiments.optimizer.config import StudyConfig
from lopt.evaluation import (
    Interval,
    OptimizerComparison,
    OptimizerResult,
    OptimizerTester,
    curves,
    image,
    plots,
    verdict,
    write_report,
    write_results,
)
from lopt.training import NONFINITE, RunFolder

PANELS: dict[str, dict[str, str]] = {
    "validation: held-out loss after the last update": {"validation/final_loss": "held-out loss"},
    "validation: mean training loss": {"validation/mean_loss": "training loss"},
    "meta-loss": {"meta_loss": "mean", "best_loss": "best of the candidates"},
    "meta-gradient norm": {"gradient_norm": "norm"},
    "fraction of non-finite lifetimes": {NONFINITE: "non-finite"},
}
"""Panels of the learning curves: by title, the metrics drawn and their labels."""
UNIT = "log10 of the held-out loss"
Results = dict[str, dict[str, OptimizerResult]]


def title(config: StudyConfig) -> str:
    """Title of the report."""
    return f"A learned optimizer ({config.rule.name}), trained on {config.training.task}"


def learning_curves(folder: RunFolder) -> str:
    """Draw the learning curves of meta-training as `curves.png`; returns Markdown that shows them."""
    return curves(folder, PANELS, "meta-step")


def write(config: StudyConfig, folder: RunFolder, results: Results) -> None:
    """Write `report.md`, `results.json` and their pictures; `results` are by task and by optimizer."""
    comparison, rate = OptimizerComparison(results, "Adam"), "learning rate"
    losses, ratios = comparison.losses, comparison.log_ratios
    trained_on = config.training.task
    others = [task for task in results if task != trained_on]
    sections = {f"On {trained_on}, the task of meta-training": comparison.table([trained_on], rate)}
    if others:
        sections["On other tasks"] = comparison.table(others, rate)
    sections["Protocol"] = protocol(config)
    plots.intervals(ratios, folder.file("table.png"), "log10 of the loss relative to tuned Adam's", zero=True)
    picture = image(
        "table.png", "Mean of log10(held-out loss / that of tuned Adam), paired by seed; negative is better than Adam."
    )
    draw_curves(results, folder)
    sections["Training curves"] = image("training_curves.png", "Training loss over a lifetime, mean over seeds.")
    if drawn := learning_curves(folder):
        sections["Meta-training"] = drawn
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "held_out_loss": losses,
            "log10_ratio_to_adam": ratios,
            "tuned_rates": comparison.rates,
        },
    )
    write_report(folder, title(config), config, sections, f"{conclusion(ratios, trained_on)}\n\n{picture}")


def conclusion(ratios: Mapping[str, Mapping[str, Interval]], trained_on: str) -> str:
    """How the learned optimizer compares with tuned Adam on the task of meta-training, and on how many others."""
    text = verdict(
        f"On {trained_on} the learned optimizer",
        "tuned Adam",
        ratios[trained_on]["learned"],
        UNIT,
        lower_is_better=True,
    )
    others = [row["learned"] for task, row in ratios.items() if task != trained_on]
    if not others:
        return text
    better, worse = sum(x.high < 0 for x in others), sum(x.low > 0 for x in others)
    return f"{text} Of the {len(others)} other tasks it is better on {better} and worse on {worse}."


def protocol(config: StudyConfig) -> str:
    """The protocol of the comparison, as text."""
    sizes = config.eval
    return (
        f"Held-out loss after {config.training.num_updates} updates, mean over {sizes.seeds} seeds with 95 % bootstrap "
        "intervals. All optimizers had the same initial learners and the same minibatches. The learned optimizer was "
        f"not tuned. The learning rate of each baseline was chosen on each task from {sizes.rates} rates between "
        f"{sizes.smallest_rate:g} and {sizes.largest_rate:g}, by the mean loss over {sizes.tuning_seeds} other seeds; "
        f"rates are constant over a lifetime. The loss of a diverged learner is {OptimizerTester.max_ratio:g} times "
        "its initial loss."
    )


def draw_curves(results: Results, folder: RunFolder) -> None:
    """Draw training losses over a lifetime, one panel per task."""
    with plots.panel_grid(folder.file("training_curves.png"), list(results), 3) as (drawing, axes):
        for task, row in results.items():
            for i, (name, measured) in enumerate(row.items()):
                window = max(1, measured.curve.size // 20)
                axes[task].plot(plots.smooth(measured.curve, window), label=name, linewidth=1.4, **plots.line_style(i))
            low = min(np.nanmin(plots.smooth(m.curve, 5)) for m in row.values())
            axes[task].set(xlabel="update", yscale="log", ylim=(0.7 * low, 2 * row["Adam"].curve[0]))
        plots.shared_legend(drawing, axes[task], above=len(row))
