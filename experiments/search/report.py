"""report.md, results.json, program files and figures of a search."""

from collections.abc import Mapping

import numpy as np

from experiments.search.build import EVOLUTION
from experiments.search.config import StudyConfig
from experiments.search.measure import ADAMW, BEST_CONSTANTS, CHOSEN, MAX_PROMOTED, NUM_TEST_SEEDS, Selection
from lopt.evaluation import (
    Interval,
    OptimizerComparison,
    OptimizerResult,
    image,
    mean,
    paired_difference,
    plots,
    table,
    verdict,
    write_report,
    write_results,
)
from lopt.rules import save_program
from lopt.search import canonical_hash, prune_loop
from lopt.search.evolution import Individual, SearchState
from lopt.training import RunFolder, read_metrics, write_text

Results = dict[str, dict[str, OptimizerResult]]
SEARCH_CAPTION = "Best fitness against evaluated programs, and statistics of the programs that evolution proposes."
RATIOS = image("table.png", "Mean log10 of the loss minus that of tuned AdamW, over paired seeds.")
STATISTICS = {
    "redundant": "statements without effect",
    "frac_cached": "proposals with cached fitness",
    "structural_hits": "structural cache hits, cumulative",
    "behavioural_hits": "behavioural cache hits, cumulative",
}
"""Axis labels of evolution's metrics that are fractions."""


def title(config: StudyConfig) -> str:
    """Title of the report."""
    return f"Search for an optimizer on {config.proxy.task}"


def search_curves(folder: RunFolder, searches: Mapping[str, SearchState]) -> str:
    """Plot the searches so far; returns the Markdown of the figure, empty before the first step."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    if not rows:
        return ""
    draw_search(rows, searches, folder)
    return image("search.png", SEARCH_CAPTION)


def write(
    config: StudyConfig, folder: RunFolder, searches: Mapping[str, SearchState], selection: Selection, results: Results
) -> None:
    """Write the report, the figures, the programs' texts, the rule file and results.json."""
    rows = read_metrics(folder.file("metrics.jsonl"))
    comparison, rate = OptimizerComparison(results, ADAMW), "tuned rate or factor"
    proxy, others = config.proxy.task, [task for task in results if task != config.proxy.task]
    sections = {
        "Selected programs": programs_section(selection),
        "Fitness on the proxy": proxy_section(config, selection),
        f"Meta-test on {proxy}": comparison.table([proxy], rate),
        **({"Meta-test on other tasks": comparison.table(others, rate)} if others else {}),
        "Protocol": protocol(config),
        "Evolution and its baselines": searches_section(rows, searches),
        "Funnel selection": funnel_section(config, selection),
    }
    plots.intervals(
        comparison.log_ratios, folder.file("table.png"), "log10 of the loss relative to tuned AdamW's", zero=True
    )
    gap = fitness_minus_adamw(selection).get(CHOSEN)
    sentence = (
        ""
        if gap is None
        else verdict("The chosen program", "AdamW with searched constants", gap, "fitness on the proxy")
    )
    draw_search(rows, searches, folder)
    draw_validation(rows, searches, folder)
    lineage = lineage_text(selection.best)
    write_text(folder.file("lineage.md"), lineage)
    write_text(folder.file("best.txt"), prune_loop(selection.best.program).text())
    write_text(folder.file("chosen.txt"), prune_loop(selection.chosen.program).text())
    save_program(folder.file("rule"), selection.simplified, command=folder.command, seed=config.run.seed)
    proxy_fitness, validation_fitness = selection.stages
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "held_out_loss": comparison.losses,
            "log10_ratio_to_adamw": comparison.log_ratios,
            "tuned_setting": comparison.rates,
            "search": {name: search_summary(search) for name, search in searches.items()},
            "test_seed_fitness": mean_test_fitness(selection),
            "fitness_minus_adamw": fitness_minus_adamw(selection),
            "best": prune_loop(selection.best.program).text(),
            "chosen": prune_loop(selection.chosen.program).text(),
            "simplified": selection.simplified.text(),
            "funnel": {
                "proxy": proxy_fitness,
                "validation": validation_fitness,
                "baseline": selection.baseline_fitness,
            },
        },
    )
    write_report(folder, title(config), config, sections, f"{sentence}\n\n{RATIOS}".strip())


def search_summary(search: SearchState) -> dict[str, float]:
    """Best fitness, counts and cache hit rates of a search."""
    return {
        "best_fitness": search.best.fitness,
        "proposed": search.proposed,
        "evaluated": search.evaluated,
        "restarts": search.restarts,
        **search.cache.hit_rates(),
    }


def programs_section(selection: Selection) -> str:
    """The texts of the best, chosen and simplified programs."""
    parts = []
    shown = {"Best on the proxy": selection.best, "Chosen by the funnel": selection.chosen}
    if canonical_hash(selection.best.program) == canonical_hash(selection.chosen.program):
        shown = {"Best on the proxy and chosen by the funnel": selection.chosen}
    for name, one in shown.items():
        raw, live, steps = one.program, prune_loop(one.program), len(one.lineage()) - 1
        parts.append(
            f"{name}: fitness {one.fitness:.4f}, program {one.index:,} of the search, {steps} mutations from AdamW. "
            f"{len(live.statements)} of its {len(raw.statements)} statements have an effect:\n\n"
            f"```python\n{live.text()}```\n\nBefore pruning:\n\n```python\n{raw.text()}```"
        )
    parts.append(
        "The chosen program, simplified by algebra and by deletion of statements that its fitness does not need "
        f"(`rule.npz` and `rule.json`):\n\n```python\n{selection.simplified.text()}```"
    )
    return "\n\n".join(parts) + "\n\nThe lineage of the best program, mutation by mutation: [lineage.md](lineage.md)."


def protocol(config: StudyConfig) -> str:
    """The protocol of the meta-test."""
    sizes = config.eval
    return (
        f"Held-out loss after {sizes.num_updates} updates with a cosine schedule: mean over {sizes.seeds} "
        "seeds with 95 % bootstrap intervals. All optimizers train the same initial learners on the same minibatches. "
        f"Each optimizer is tuned over {sizes.trials} settings on each task, by the mean loss of {sizes.tuning_seeds} "
        "other seeds. The settings of AdamW (optax's, with bias correction) and Lion are learning rates between 1e-4 "
        "and 0.1 and weight decays of 0 and 0.1; those of a program are factors on its update between 1/30 and 30, and "
        "its constants are not tuned. Smaller is better. No choice was made on the seeds of the table, but the search "
        f"used the held-out examples of {config.proxy.task}, and the funnel those of {config.eval.validation}. A "
        "program that is not listed equals the chosen one."
    )


def searches_section(rows: list[dict[str, float]], searches: Mapping[str, SearchState]) -> str:
    """The table and the figure of evolution and its baselines."""
    header = ("search", "best fitness", "evaluated", "proposed", "structural hits", "behavioural hits", "restarts")
    lines = []
    for name, search in searches.items():
        data = search_summary(search)
        rates = [data[k] for k in ("structural_hits", "behavioural_hits")]
        lines.append(
            (name, data["best_fitness"], int(data["evaluated"]), int(data["proposed"]), *rates, search.restarts)
        )
    rate = np.median([row["time/programs_per_second"] for row in rows if "time/programs_per_second" in row])
    redundant = np.mean([row[f"{EVOLUTION}/redundant"] for row in rows[-5:]])
    cached = np.mean([row[f"{EVOLUTION}/frac_cached"] for row in rows[-5:]])
    return (
        f"{table(header, lines)}\n\nFitness is minus the held-out loss at the end of a lifetime. {rate:.0f} programs "
        "were evaluated per second (median over steps, proposals included). In the last steps of evolution, "
        f"{100 * redundant:.0f} % of the statements were redundant and {100 * cached:.0f} % of the proposals had a "
        "cached fitness.\n\n" + image("search.png", SEARCH_CAPTION)
    )


def mean_test_fitness(selection: Selection) -> dict[str, float]:
    """Mean fitness on the proxy over the test seeds; not finite for a program with a diverged learner."""
    return {name: float(scores.mean()) for name, scores in selection.test_scores.items()}


def fitness_minus_adamw(selection: Selection) -> dict[str, Interval]:
    """Fitness minus that of AdamW with searched constants, over paired test seeds; only for finite scores."""
    adamw = selection.test_scores[BEST_CONSTANTS]
    return {
        name: paired_difference(scores, adamw, mean)
        for name, scores in selection.test_scores.items()
        if name != BEST_CONSTANTS and np.isfinite([*scores, *adamw]).all()
    }


def proxy_section(config: StudyConfig, selection: Selection) -> str:
    """The table of the selected programs' fitness on the proxy."""
    differences = fitness_minus_adamw(selection)
    rows = [
        (name, f"{value:.4f}" if np.isfinite(value) else "diverged", str(differences.get(name, "-")))
        for name, value in mean_test_fitness(selection).items()
    ]
    return (
        table(("program", "fitness", "minus AdamW's"), rows)
        + f"\n\nFitness as in the search (minus the held-out loss after {config.proxy.steps} updates), mean over "
        f"{NUM_TEST_SEEDS} seeds that neither the search nor the funnel used. AdamW has the best constants of constant "
        "search. Nothing is tuned."
    )


def funnel_section(config: StudyConfig, selection: Selection) -> str:
    """The funnel's table and the figure of meta-validation."""
    first, second = selection.stages
    shown = list(first.items())[:MAX_PROMOTED]
    finalists = selection.finalists
    rows: list[tuple[str, ...]] = []
    for i, value in shown:
        validation = f"{second[i]:.4f}" if i in second else "-"
        length = len(prune_loop(finalists[i].program).statements)
        rows.append((str(i), f"{finalists[i].fitness:.4f}", f"{value:.4f}", validation, str(length)))
    baseline = (f"{x:.4f}" for x in (selection.baseline.fitness, *selection.baseline_fitness))
    rows.append((BEST_CONSTANTS, *baseline, ""))
    header = ("program", "fitness in the search", "proxy, new seeds", config.eval.validation, "statements")
    return (
        f"{table(header, rows)}\n\nThe best {len(shown)} of {len(first)} programs, ranked on new seeds of the proxy. "
        f"Programs that beat AdamW with searched constants are evaluated on {config.eval.validation} "
        f"({config.eval.validation_steps} updates), and the best one is chosen.\n\n"
        + image("validation.png", "Fitness of the best program so far on the proxy and on the meta-validation task.")
    )


def lineage_text(last: Individual) -> str:
    """The lineage of an individual as Markdown; ancestors that compute the same as their parents are omitted."""
    parts, previous = ["# Lineage\n"], ""
    chain = last.lineage()
    for i, one in enumerate(chain):
        current = canonical_hash(one.program)
        if current != previous or one is last:
            live = prune_loop(one.program).text()
            parts.append(
                f"## Generation {i}: fitness {one.fitness:.4f} (program {one.index:,})\n\n```python\n{live}```\n"
            )
        previous = current
    return "\n".join(parts)


def finite(value: float) -> float:
    """The value if it is finite, else NaN, which is not plotted."""
    return value if np.isfinite(value) else float("nan")


def draw_search(rows: list[dict[str, float]], searches: Mapping[str, SearchState], folder: RunFolder) -> None:
    """Plot the best fitness of each search, and the statistics of evolution's proposals."""
    with plots.figure(folder.file("search.png"), 1, 2, size=(4.2, 3.0)) as (_, axes):
        for name, color in zip(searches, plots.COLORS, strict=False):
            logged = [row for row in rows if f"{name}/best" in row]
            x, y = [row[f"{name}/evaluated"] for row in logged], [finite(row[f"{name}/best"]) for row in logged]
            axes[0, 0].step(x, y, where="post", color=color, label=name)
        axes[0, 0].set(title="best fitness", xlabel="evaluated programs")
        axes[0, 0].legend(loc="lower right")
        for (metric, label), color in zip(STATISTICS.items(), plots.COLORS[2:], strict=False):
            logged = [row for row in rows if f"{EVOLUTION}/{metric}" in row]
            x = [row[f"{EVOLUTION}/evaluated"] for row in logged]
            axes[0, 1].plot(x, [row[f"{EVOLUTION}/{metric}"] for row in logged], color=color, label=label)
        axes[0, 1].set(
            title="evolution: fraction of", xlabel="evaluated programs", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6)
        )
        axes[0, 1].legend(loc="upper center", ncols=2)


def draw_validation(rows: list[dict[str, float]], searches: Mapping[str, SearchState], folder: RunFolder) -> None:
    """Plot meta-validation: fitness of the best program so far on the proxy and on the meta-validation task."""
    with plots.figure(folder.file("validation.png"), 1, 2, size=(4.2, 3.0)) as (_, axes):
        for axis, metric, task in zip(axes[0], ("best", "validation"), ("proxy", "meta-validation task"), strict=True):
            for name, color in zip(searches, plots.COLORS, strict=False):
                logged = [row for row in rows if f"{name}/validation" in row]
                x, y = [row[f"{name}/evaluated"] for row in logged], [finite(row[f"{name}/{metric}"]) for row in logged]
                axis.plot(x, y, color=color, marker=".", label=name)
            axis.set(title=f"best program so far, {task}", xlabel="evaluated programs", ylabel="fitness")
        axes[0, 0].legend(loc="lower right")
