"""report.md, results.json, the formula, the rule file and figures of a distillation."""

from collections.abc import Sequence

from experiments.search.distil.build import Target
from experiments.search.distil.choose import Choice
from experiments.search.distil.config import DistilConfig
from lopt.evaluation import image, plots, table, write_report, write_results
from lopt.search.evolution import SearchState
from lopt.training import RunFolder, read_metrics, write_text

NAMES = {
    "r_squared": "R^2",
    "rmse": "root of the mean squared error",
    "deviation": "standard deviation of the rule's values",
    "violation": "violation of the formula (f < 0, f(1), f'(1))",
    "loss_rule": "held-out loss of a learner trained by the rule",
    "loss_formula": "held-out loss of the same learner trained by the formula",
}
"""Descriptions of the metrics in the report."""


def title(target: Target) -> str:
    """Title of the report."""
    return f"Symbolic distillation of a learned {target.kind}"


def write(
    config: DistilConfig, folder: RunFolder, target: Target, searches: Sequence[SearchState], choice: Choice
) -> None:
    """Write the report, the figures, the formula, the rule file and results.json."""
    program = choice.chosen.program
    metrics, text = target.metrics(program), target.text(program)
    front = [
        {"statements": one.statements, "cost": one.cost, "r_squared": target.r_squared(one.program)}
        for one in choice.front
    ]
    fit = table(("metric", "value"), [(NAMES[name], value) for name, value in metrics.items()])
    sections = {
        "Formula": f"```python\n{text}```\n\n{fit}\n\n{target.explanation}",
        "Rule and formula": target.draw(program, folder.file("formula.png")),
        "Pareto front of cost and length": front_section(target, choice, front, folder),
        "Searches": searches_section(searches, folder),
    }
    write_text(folder.file("formula.txt"), text)
    target.save(folder.file("rule"), program, command=folder.command, seed=config.run.seed, metrics=metrics)
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "rule": config.rule,
            "held_out": metrics,
            "program": program.text(),
            "front": [row | {"program": one.program.text()} for row, one in zip(front, choice.front, strict=True)],
            "searches": [{"best_fitness": search.best.fitness, "evaluated": search.evaluated} for search in searches],
        },
    )
    write_report(folder, title(target), config, sections)


def front_section(target: Target, choice: Choice, front: list[dict[str, float]], folder: RunFolder) -> str:
    """The table and the figure of the Pareto front."""
    lengths = [row["statements"] for row in front]
    with plots.figure(folder.file("front.png"), size=(4.2, 3.0)) as (_, axes):
        axis = axes[0, 0]
        axis.step(lengths, [row["cost"] for row in front], where="post", color=plots.COLORS[0], label="fitted")
        held_out = [1 - row["r_squared"] for row in front]
        axis.plot(lengths, held_out, "o", color=plots.COLORS[1], markersize=4, label="1 - R^2, held out")
        axis.axvline(choice.chosen.statements, color="#808080", linestyle="--", linewidth=1, label="chosen")
        axis.set(yscale="log", xlabel="statements", ylabel="fraction of the variance")
        axis.legend()
    rows = [
        (f"**{one.statements}**" if one is choice.chosen else str(one.statements), one.cost, row["r_squared"])
        + (f"`{target.text(one.program).partition(':')[2].strip().replace(chr(10) + '    ', '; ')}`",)
        for one, row in zip(choice.front, front, strict=True)
    ]
    header = ("statements", "cost", "R^2, held out", "program")
    return f"{table(header, rows)}\n\n" + image(
        "front.png",
        "The best program of each length: its cost (error and violation) on the data of the fit, and its error on "
        "held-out data.",
    )


def searches_section(searches: Sequence[SearchState], folder: RunFolder) -> str:
    """The table and the figure of the independent searches."""
    header = ("search", "best fitness", "evaluated", "proposed")
    lines = [(i, search.best.fitness, search.evaluated, search.proposed) for i, search in enumerate(searches)]
    return f"{table(header, lines)}\n\n{search_curves(searches, folder)}"


def search_curves(searches: Sequence[SearchState], folder: RunFolder) -> str:
    """Plot the searches so far; returns the Markdown of the figure, empty before the first step."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    if not rows:
        return ""
    with plots.figure(folder.file("search.png"), size=(4.2, 3.0)) as (_, axes):
        for number in range(len(searches)):
            finite = [row for row in rows if row[f"{number}/best"] > -float("inf")]
            x, cost = [row[f"{number}/evaluated"] for row in finite], [-row[f"{number}/best"] for row in finite]
            axes[0, 0].step(x, cost, where="post", label=f"search {number}")
        axes[0, 0].set(yscale="log", xlabel="evaluated programs", ylabel="minus the best fitness")
        axes[0, 0].legend()
    return image("search.png", "Best fitness so far of each search.")
