"""report.md, results.json, the programs and the pictures of a search."""

from collections.abc import Mapping

import numpy as np

from experiments.common import plots
from experiments.common.config import write_text
from experiments.common.folder import RunFolder
from experiments.common.logging import read_metrics
from experiments.common.report import image, table, write_report, write_results
from experiments.common.stats import Interval, bootstrap, mean, paired_difference
from experiments.learned_optimizer.measure import Measured
from experiments.lion_search.build import EVOLUTION
from experiments.lion_search.config import StudyConfig
from experiments.lion_search.measure import ADAMW, PROMOTED, SEARCHED, WITNESSES, Found
from lopt.export import save_program
from lopt.search import canonical_hash, prune_loop
from lopt.search.evolution import Individual, Search

Results = dict[str, dict[str, Measured]]
SEARCH_CAPTION = "Best fitness over programs tried; how much of what evolution proposes is known or dead."


def title(config: StudyConfig) -> str:
    """Of the report."""
    return f"A search for an optimizer on {config.proxy.task}"


def searched(folder: RunFolder, searches: Mapping[str, Search]) -> str:
    """Draw the searches so far; the Markdown that shows them, empty before the first step."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    if not rows:
        return ""
    draw_search(rows, searches, folder)
    return image("search.png", SEARCH_CAPTION)


def write(
    config: StudyConfig, folder: RunFolder, searches: Mapping[str, Search], found: Found, results: Results
) -> None:
    """Write everything that shows the result."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    losses = {task: {who: bootstrap(m.losses, mean) for who, m in row.items()} for task, row in results.items()}
    against = {task: against_adamw(row) for task, row in results.items()}
    proxy, others = config.proxy.task, [task for task in results if task != config.proxy.task]
    sections = {
        "What was found": programs(found),
        "On the proxy": unseen(config, found),
        f"On {proxy}, with longer lives": measured(results, losses, against, [proxy]),
        **({"On other tasks": measured(results, losses, against, others)} if others else {}),
        "How to read this": reading(config),
        "The search beside its baselines": beside(rows, searches),
        "From the proxy to a larger task": funnelled(config, found),
    }
    plots.intervals(against, folder.file("table.png"), "log10 of the loss relative to tuned AdamW's", zero=True)
    draw_search(rows, searches, folder)
    draw_validation(rows, searches, folder)
    lineage = story(found.best)
    write_text(folder.file("lineage.md"), lineage)
    write_text(folder.file("best.txt"), prune_loop(found.best.program).text())
    write_text(folder.file("chosen.txt"), prune_loop(found.chosen.program).text())
    save_program(folder.file("rule"), found.simple, command=folder.command, seed=config.run.seed)
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "held_out_loss": losses,
            "log10_ratio_to_adamw": against,
            "tuned": {task: {who: m.rate for who, m in row.items() if m.rate} for task, row in results.items()},
            "search": {name: counts(search) for name, search in searches.items()},
            "fitness_by_unseen_newborns": unseen_fitness(found),
            "fitness_minus_adamw": unseen_advantage(found),
            "best": prune_loop(found.best.program).text(),
            "chosen": prune_loop(found.chosen.program).text(),
            "simplified": found.simple.text(),
            "funnel": {"fresh newborns": found.stages[0], "larger task": found.stages[1], "baseline": found.bars},
        },
    )
    write_report(folder, title(config), config, sections)


def against_adamw(row: Mapping[str, Measured]) -> dict[str, Interval]:
    """Mean of log10(loss / tuned AdamW's) over newborns, paired, with a 95 % interval."""
    logs = {who: np.log10(np.maximum(m.losses, 1e-12)) for who, m in row.items()}
    return {who: paired_difference(x, logs[ADAMW]) for who, x in logs.items() if who != ADAMW}


def counts(search: Search) -> dict[str, float]:
    """What a search has done."""
    hits, asked = search.memory.hits, max(sum(search.memory.hits.values()), 1)
    return {
        "best_fitness": search.best.fitness,
        "proposed": search.proposed,
        "tried": search.tried,
        "restarts": search.restarts,
        "known_by_structure": hits["structure"] / asked,
        "known_by_behaviour": hits["behaviour"] / asked,
    }


def programs(found: Found) -> str:
    """The texts, as evolution left them and pruned."""
    parts = []
    shown = {"Best on the proxy": found.best, "Chosen by the funnel": found.chosen}
    if canonical_hash(found.best.program) == canonical_hash(found.chosen.program):
        shown = {"Best on the proxy, and chosen by the funnel": found.chosen}
    for name, one in shown.items():
        raw, live, steps = one.program, prune_loop(one.program), len(one.lineage()) - 1
        parts.append(
            f"{name}: fitness {one.fitness:.4f}, program {one.born:,} of the search, {steps} mutations from AdamW. "
            f"{len(live.statements)} of its {len(raw.statements)} statements have an effect:\n\n"
            f"```python\n{live.text()}```\n\nAs evolution left it:\n\n```python\n{raw.text()}```"
        )
    parts.append(
        "The chosen one simplified, by algebra and by leaving out what its fitness does not need (`rule.npz` and "
        f"`rule.json` hold it):\n\n```python\n{found.simple.text()}```"
    )
    return "\n\n".join(parts) + "\n\nHow the best one came about, mutation by mutation: [lineage.md](lineage.md)."


def measured(results: Results, losses: Mapping, against: Mapping, names: list[str]) -> str:
    """The final table of these tasks."""
    rows = [
        (task, who, losses[task][who], against[task].get(who, "-"), "-" if m.rate is None else f"{m.rate:.2g}")
        for task in names
        for who, m in results[task].items()
    ]
    text = table(("task", "optimizer", "held-out loss", "log10 ratio to AdamW", "tuned rate or factor"), rows)
    if names != [*results][:1]:
        text += "\n\n" + image("table.png", "Mean logarithm of the loss minus tuned AdamW's, newborn by newborn.")
    return text


def reading(config: StudyConfig) -> str:
    """What the numbers are."""
    sizes = config.eval
    return (
        f"Held-out loss after a life of {sizes.lifetime} updates under a cosine schedule, mean over {sizes.seeds} "
        "newborns with 95 % bootstrap intervals; all optimizers had the same newborns and the same minibatches, and "
        f"{sizes.trials} trials of tuning on each task, judged by {sizes.tuning_seeds} other newborns: AdamW and Lion "
        "(optax's AdamW with bias correction) of rates between 1e-4 and 0.1 and decays of 0 and 0.1, a program of a "
        "factor on its update between 1/30 and 30, while its other constants stayed. Less is better. The newborns are "
        f"new to all; but by the held-out examples of {config.proxy.task} the search judged programs, and on "
        f"{config.eval.validation} the funnel has chosen. What is not listed is the same program as the chosen one."
    )


def beside(rows: list[dict[str, float]], searches: Mapping[str, Search]) -> str:
    """The table and the picture of the searches."""
    header = ("search", "best fitness", "tried", "proposed", "known by structure", "known by behaviour", "restarts")
    lines = []
    for name, search in searches.items():
        told = counts(search)
        parts = [told[k] for k in ("known_by_structure", "known_by_behaviour")]
        lines.append((name, told["best_fitness"], int(told["tried"]), int(told["proposed"]), *parts, search.restarts))
    rate = np.median([row["time/programs_per_second"] for row in rows if "time/programs_per_second" in row])
    redundant = np.mean([row[f"{EVOLUTION}/redundant"] for row in rows[-5:]])
    known = np.mean([row[f"{EVOLUTION}/known_now"] for row in rows[-5:]])
    return (
        f"{table(header, lines)}\n\nFitness is minus the held-out loss at the end of life. {rate:.0f} programs were "
        f"tried a second (median over steps, proposals included). At the end of evolution {100 * redundant:.0f} % of "
        f"its statements were redundant, and {100 * known:.0f} % of its proposals were known.\n\n"
        + image("search.png", SEARCH_CAPTION)
    )


def unseen_fitness(found: Found) -> dict[str, float]:
    """Mean fitness on the proxy, by newborns that nothing was chosen by; not finite where one was lost."""
    return {who: float(scores.mean()) for who, scores in found.unseen.items()}


def unseen_advantage(found: Found) -> dict[str, Interval]:
    """The same minus that of AdamW with searched constants, newborn by newborn, of those that lost none."""
    adamw = found.unseen[SEARCHED]
    return {
        who: paired_difference(scores, adamw, mean)
        for who, scores in found.unseen.items()
        if who != SEARCHED and np.isfinite([*scores, *adamw]).all()
    }


def unseen(config: StudyConfig, found: Found) -> str:
    """The table of what was found on the proxy itself."""
    advantage = unseen_advantage(found)
    rows = [
        (who, f"{value:.4f}" if np.isfinite(value) else "lost", str(advantage.get(who, "-")))
        for who, value in unseen_fitness(found).items()
    ]
    return (
        table(("program", "fitness", "minus AdamW's"), rows)
        + f"\n\nFitness as in the search (minus the held-out loss after {config.proxy.steps} updates), by {WITNESSES} "
        "newborns that neither the search nor the funnel has seen; AdamW's constants are the best of their own search. "
        "Nothing is tuned."
    )


def funnelled(config: StudyConfig, found: Found) -> str:
    """The funnel's table and the picture of meta-validation."""
    first, second = found.stages
    shown = list(first.items())[:PROMOTED]
    rows = [
        (i, found.programs[i].fitness, value, second.get(i, "-"), len(prune_loop(found.programs[i].program).statements))
        for i, value in shown
    ]
    rows.append((SEARCHED, found.baseline.fitness, *found.bars, ""))
    rows = [
        (str(name), *(x if isinstance(x, str) else f"{x:.4f}" for x in rest[:3]), str(rest[3])) for name, *rest in rows
    ]
    header = ("program", "fitness in the search", "fresh newborns", config.eval.validation, "statements")
    return (
        f"{table(header, rows)}\n\nThe {len(shown)} best of {len(first)} programs, ranked by fresh newborns of the "
        f"proxy; only what beats AdamW with searched constants there goes on to {config.eval.validation} "
        f"({config.eval.validation_steps} updates), where the best is chosen.\n\n"
        + image("validation.png", "The best program so far, on the proxy and on the larger task.")
    )


def story(last: Individual) -> str:
    """The lineage of a program: every ancestor that computes something else than its parent."""
    parts, before = ["# Lineage\n"], ""
    chain = last.lineage()
    for i, one in enumerate(chain):
        name = canonical_hash(one.program)
        if name != before or one is last:
            live = prune_loop(one.program).text()
            parts.append(
                f"## Generation {i}: fitness {one.fitness:.4f} (program {one.born:,})\n\n```python\n{live}```\n"
            )
        before = name
    return "\n".join(parts)


def finite(value: float) -> float:
    """The value, or NaN, which is not drawn, for a program that is lost."""
    return value if np.isfinite(value) else float("nan")


def draw_search(rows: list[dict[str, float]], searches: Mapping[str, Search], folder: RunFolder) -> None:
    """Best fitness over programs, and the statistics of evolution's proposals."""
    with plots.figure(folder.file("search.png"), 1, 2, size=(4.2, 3.0)) as (_, axes):
        for name, color in zip(searches, plots.COLORS, strict=False):
            told = [row for row in rows if f"{name}/best" in row]
            x, y = [row[f"{name}/tried"] for row in told], [finite(row[f"{name}/best"]) for row in told]
            axes[0, 0].step(x, y, where="post", color=color, label=name)
        axes[0, 0].set(title="best fitness", xlabel="programs tried")
        axes[0, 0].legend(loc="lower right")
        shares = {
            "redundant": "statements without effect",
            "known_now": "proposals known",
            "structure_hits": "known by structure, so far",
            "behaviour_hits": "known by behaviour, so far",
        }
        for (what, label), color in zip(shares.items(), plots.COLORS[2:], strict=False):
            told = [row for row in rows if f"{EVOLUTION}/{what}" in row]
            x = [row[f"{EVOLUTION}/tried"] for row in told]
            axes[0, 1].plot(x, [row[f"{EVOLUTION}/{what}"] for row in told], color=color, label=label)
        axes[0, 1].set(
            title="evolution: share of", xlabel="programs tried", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6)
        )
        axes[0, 1].legend(loc="upper center", ncols=2)


def draw_validation(rows: list[dict[str, float]], searches: Mapping[str, Search], folder: RunFolder) -> None:
    """Meta-validation: the best so far on the proxy, and what the same programs do on the larger task."""
    with plots.figure(folder.file("validation.png"), 1, 2, size=(4.2, 3.0)) as (_, axes):
        for axis, what, title in zip(
            axes[0], ("best", "validation"), ("on the proxy", "on the larger task"), strict=True
        ):
            for name, color in zip(searches, plots.COLORS, strict=False):
                told = [row for row in rows if f"{name}/validation" in row]
                x, y = [row[f"{name}/tried"] for row in told], [finite(row[f"{name}/{what}"]) for row in told]
                axis.plot(x, y, color=color, marker=".", label=name)
            axis.set(title=f"best program so far, {title}", xlabel="programs tried", ylabel="fitness")
        axes[0, 0].legend(loc="lower right")
