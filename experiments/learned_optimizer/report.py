"""report.md, results.json and the pictures of a run."""

import numpy as np

from experiments.common import plots
from experiments.common.folder import RunFolder
from experiments.common.logging import NONFINITE
from experiments.common.report import curves, image, table, write_report, write_results
from experiments.common.stats import Interval, bootstrap, mean, paired_difference
from experiments.learned_optimizer.config import StudyConfig
from experiments.learned_optimizer.measure import Measured

PANELS: dict[str, dict[str, str]] = {
    "new learners: held-out loss at the end": {"newborns/final_loss": "held-out loss"},
    "new learners: mean training loss": {"newborns/mean_loss": "training loss"},
    "meta-loss (late losses weigh more)": {"meta_loss": "mean", "best_loss": "best of the candidates"},
    "meta-gradient norm": {"gradient_norm": "norm"},
    "fraction of lifetimes left out": {NONFINITE: "not finite"},
}
Results = dict[str, dict[str, Measured]]


def title(config: StudyConfig) -> str:
    """Of the report."""
    return f"A learned optimizer ({config.rule.name}), trained on {config.training.task}"


def learning(folder: RunFolder) -> str:
    """Draw the learning curves; the Markdown that shows them."""
    return curves(folder, PANELS, "meta-step")


def write(config: StudyConfig, folder: RunFolder, results: Results) -> None:
    """Write everything that shows the result; `results` are by task and by optimizer."""
    losses = {task: {who: bootstrap(m.losses, mean) for who, m in row.items()} for task, row in results.items()}
    against = {task: against_adam(row) for task, row in results.items()}
    trained_on = config.training.task
    others = [task for task in results if task != trained_on]
    sections = {f"On {trained_on}, its task of training": _table(results, losses, against, [trained_on])}
    if others:
        sections["On tasks it was not trained on"] = _table(results, losses, against, others)
    sections["How to read this"] = reading(config)
    plots.intervals(against, folder.file("table.png"), "log10 of the loss relative to tuned Adam's", zero=True)
    sections["Against tuned Adam"] = image(
        "table.png", "Mean logarithm of the held-out loss minus that of tuned Adam, newborn by newborn; less is better."
    )
    draw_curves(results, folder)
    sections["Lives"] = image("lives.png", "Training loss over a life, mean over newborns.")
    if drawn := learning(folder):
        sections["Meta-training"] = drawn
    rates = {task: {who: m.rate for who, m in row.items() if m.rate} for task, row in results.items()}
    write_results(
        folder,
        {"seed": config.run.seed, "held_out_loss": losses, "log10_ratio_to_adam": against, "tuned_rates": rates},
    )
    write_report(folder, title(config), config, sections)


def against_adam(row: dict[str, Measured]) -> dict[str, Interval]:
    """Mean of log10(loss / Adam's loss) over newborns, paired, with a 95 % interval."""
    logs = {who: np.log10(np.maximum(m.losses, 1e-12)) for who, m in row.items()}
    return {who: paired_difference(x, logs["Adam"]) for who, x in logs.items() if who != "Adam"}


def reading(config: StudyConfig) -> str:
    """What the numbers are."""
    sizes = config.eval
    return (
        f"Held-out loss after a life of {config.training.lifetime} updates, mean over {sizes.seeds} newborns with 95 % "
        "bootstrap intervals; all optimizers had the same newborns and the same minibatches. The learned optimizer has "
        f"no option to tune and was not tuned. Each baseline had {sizes.rates} learning rates between "
        f"{sizes.smallest_rate:g} and {sizes.largest_rate:g} on each task, judged by {sizes.tuning_seeds} other "
        "newborns; a larger rate is not a schedule, and none has one. A lost learner counts as ten times its loss at "
        "birth."
    )


def _table(results: Results, losses: dict, against: dict, names: list[str]) -> str:
    rows = [
        (task, who, losses[task][who], against[task].get(who, "-"), "-" if m.rate is None else f"{m.rate:.2g}")
        for task in names
        for who, m in results[task].items()
    ]
    return table(("task", "optimizer", "held-out loss", "log10 ratio to Adam", "learning rate"), rows)


def draw_curves(results: Results, folder: RunFolder) -> None:
    """Training losses over a life, one panel per task."""
    columns = min(3, len(results))
    lines = -(-len(results) // columns)
    with plots.figure(folder.file("lives.png"), lines, columns) as (drawing, axes):
        for axis, (task, row) in zip(axes.flat, results.items(), strict=False):
            for (who, measured), color in zip(row.items(), plots.COLORS, strict=False):
                window = max(1, measured.curve.size // 20)
                axis.plot(plots.smooth(measured.curve, window), color=color, label=who, linewidth=1.4)
            low = min(np.nanmin(plots.smooth(m.curve, 5)) for m in row.values())
            axis.set(title=task, xlabel="update", yscale="log", ylim=(0.7 * low, 2 * row["Adam"].curve[0]))
        for axis in axes.flat[len(results) :]:
            axis.set_visible(False)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper center", ncols=len(labels))
