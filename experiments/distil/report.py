"""What shows the result: the formula, the front, pictures, and the rule file."""

from collections.abc import Sequence

from experiments.common import plots
from experiments.common.config import write_text
from experiments.common.folder import RunFolder
from experiments.common.logging import read_metrics
from experiments.common.report import image, table, write_report, write_results
from experiments.distil.build import Subject
from experiments.distil.choose import Choice
from experiments.distil.config import DistilConfig
from lopt.search.evolution import Search

NAMES = {
    "r_squared": "R^2",
    "rmse": "root of the mean squared error",
    "deviation": "standard deviation of the rule's values",
    "violation": "violation of the formula (f < 0, f(1), f'(1))",
    "loss_rule": "held-out loss of a learner moved by the rule",
    "loss_formula": "held-out loss of the same learner moved by the formula",
}


def title(subject: Subject) -> str:
    """Of the report."""
    return f"A learned {subject.noun} as a formula"


def write(
    config: DistilConfig, folder: RunFolder, subject: Subject, searches: Sequence[Search], choice: Choice
) -> None:
    """Write everything into the folder."""
    program = choice.chosen.program
    measures, text = subject.measures(program), subject.text(program)
    front = [
        {"statements": one.statements, "cost": one.cost, "r_squared": subject.r_squared(one.program)}
        for one in choice.front
    ]
    fit = table(("measure", "value"), [(NAMES[name], value) for name, value in measures.items()])
    sections = {
        "The formula": f"```python\n{text}```\n\n{fit}\n\n{subject.reading}",
        "Rule and formula": subject.draw(program, folder.file("formula.png")),
        "Error against length": fronts(subject, choice, front, folder),
        "The searches": searched(searches, folder),
    }
    write_text(folder.file("formula.txt"), text)
    subject.save(folder.file("rule"), program, command=folder.command, seed=config.run.seed, metrics=measures)
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "rule": config.rule,
            "held_out": measures,
            "program": program.text(),
            "front": [row | {"program": one.program.text()} for row, one in zip(front, choice.front, strict=True)],
            "searches": [{"best_fitness": search.best.fitness, "tried": search.tried} for search in searches],
        },
    )
    write_report(folder, title(subject), config, sections)


def fronts(subject: Subject, choice: Choice, front: list[dict[str, float]], folder: RunFolder) -> str:
    """The table and the picture of the front."""
    lengths = [row["statements"] for row in front]
    with plots.figure(folder.file("front.png"), size=(4.2, 3.0)) as (_, axes):
        axis = axes[0, 0]
        axis.step(lengths, [row["cost"] for row in front], where="post", color=plots.COLORS[0], label="fitted")
        held_out = [1 - row["r_squared"] for row in front]
        axis.plot(lengths, held_out, "o", color=plots.COLORS[1], markersize=4, label="1 - R^2, held out")
        axis.axvline(choice.chosen.statements, color="#808080", linestyle="--", linewidth=1, label="chosen")
        axis.set(yscale="log", xlabel="statements", ylabel="share of the variance")
        axis.legend()
    rows = [
        (f"**{one.statements}**" if one is choice.chosen else str(one.statements), one.cost, row["r_squared"])
        + (f"`{subject.text(one.program).partition(':')[2].strip().replace(chr(10) + '    ', '; ')}`",)
        for one, row in zip(choice.front, front, strict=True)
    ]
    header = ("statements", "cost", "R^2, held out", "program")
    return f"{table(header, rows)}\n\n" + image(
        "front.png",
        "The best program of every length: its cost (error and violation where it was fitted) and its error elsewhere.",
    )


def searched(searches: Sequence[Search], folder: RunFolder) -> str:
    """The table and the picture of the searches."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    with plots.figure(folder.file("search.png"), size=(4.2, 3.0)) as (_, axes):
        for number in range(len(searches)):
            told = [row for row in rows if row[f"{number}/best"] > -float("inf")]
            cost = [-row[f"{number}/best"] for row in told]
            axes[0, 0].step([row[f"{number}/tried"] for row in told], cost, where="post", label=f"search {number}")
        axes[0, 0].set(yscale="log", xlabel="programs tried", ylabel="minus the best fitness")
        axes[0, 0].legend()
    header = ("search", "best fitness", "tried", "proposed")
    lines = [(i, search.best.fitness, search.tried, search.proposed) for i, search in enumerate(searches)]
    return f"{table(header, lines)}\n\n" + image("search.png", "The best fitness so far, restart by restart.")
