"""Report, results and pictures of meta-training the optimizer of PPO agents."""

import dataclasses
from collections.abc import Mapping

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult, draw
from experiments.optimizer.rl.config import RLStudyConfig
from experiments.optimizer.rl.measure import Tuned, rates
from lopt.evaluation import bootstrap, curves, image, mean, paired_difference, table, write_report, write_results
from lopt.training import NONFINITE, RunFolder

LEARNED, UNTRAINED = "learned", "untrained"
PANELS: dict[str, dict[str, str]] = {
    "validation: return": {"validation/final": "after the last update", "validation/lifetime": "mean of the lifetime"},
    "meta-loss: minus the fitness": {"meta_loss": "mean", "best_loss": "best"},
    "norm of the gradient estimate": {"gradient_norm": "norm"},
    "fraction of non-finite pairs": {NONFINITE: "non-finite"},
}
"""Panels of the learning curves: by title, the metrics drawn and their labels."""
MEASURES = {"final": "final return", "lifetime": "mean return over the lifetime"}


def title(config: RLStudyConfig) -> str:
    """Title of the report."""
    return f"A learned optimizer ({config.rule.name}) of PPO agents, trained in {config.envs[0]}"


def learning_curves(folder: RunFolder) -> str:
    """Draw the learning curves of meta-training as `curves.png`; returns Markdown that shows them."""
    return curves(folder, PANELS, "meta-step")


def write(
    config: RLStudyConfig,
    folder: RunFolder,
    env_setups: Mapping[str, EnvSetup],
    results: Mapping[str, Mapping[str, MetaTestResult]],
    tuned: Mapping[str, Mapping[str, Tuned]],
) -> None:
    """Write `report.md`, `results.json` and their pictures; `results` and `tuned` are by environment and optimizer."""
    trained_in = config.envs[0]
    sections = {}
    for name, row in results.items():
        heading = f"In {name}, the environment of meta-training" if name == trained_in else f"In {name}"
        sections[heading] = comparison(row, tuned[name])
    draw(results, {name: setup.steps for name, setup in env_setups.items()}, folder.file("agents.png"))
    sections["Training curves"] = image(
        "agents.png",
        "Returns of the episodes that began in each update: mean over seeds, and the middle half of them. An "
        "unfinished episode counts with its rewards until the end of the lifetime, so that the curves fall at the end.",
    )
    sections["Protocol"] = protocol(config, env_setups, tuned)
    if drawn := learning_curves(folder):
        sections["Meta-training"] = drawn
    per_seed = {
        env: {label: {"final": r.final, "lifetime": r.lifetime_return} for label, r in row.items()}
        for env, row in results.items()
    }
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "returns": {
                env: {label: {k: bootstrap(x, mean) for k, x in values.items()} for label, values in row.items()}
                for env, row in per_seed.items()
            },
            "learned_minus": {
                env: {
                    label: {k: paired_difference(row[LEARNED][k], x) for k, x in values.items()}
                    for label, values in row.items()
                    if label != LEARNED
                }
                for env, row in per_seed.items()
            },
            "per_seed": per_seed,
            "tuned": {
                env: {name: {"rates": rates(config), **dataclasses.asdict(choice)} for name, choice in row.items()}
                for env, row in tuned.items()
            },
        },
    )
    write_report(folder, title(config), config, sections)


def comparison(row: Mapping[str, MetaTestResult], tuned: Mapping[str, Tuned]) -> str:
    """The table of one environment; `row` and `tuned` are by optimizer."""
    minus = "learned minus this"
    best, lines = row[LEARNED], []
    for label, result in row.items():
        cells: list[object] = [label]
        for of_learned, values in ((best.final, result.final), (best.lifetime_return, result.lifetime_return)):
            cells.append(bootstrap(values, mean))
            cells.append("" if label == LEARNED else str(paired_difference(of_learned, values)))
        chosen = tuned.get(label)
        cells.append("" if chosen is None else f"{chosen.rate:.2g}, {'annealed' if chosen.anneal else 'constant'}")
        lines.append(cells)
    header = ("optimizer", MEASURES["final"], minus, MEASURES["lifetime"], minus, "tuned learning rate")
    return table(header, lines)


def protocol(
    config: RLStudyConfig, env_setups: Mapping[str, EnvSetup], tuned: Mapping[str, Mapping[str, Tuned]]
) -> str:
    """The protocol of the comparison, as text."""
    sizes, s = config.eval, env_setups[config.envs[0]].settings
    text = (
        f"Agents are trained from scratch by PPO for {s.total_steps:,} environment steps: {s.num_updates} updates of "
        f"{s.epochs} x {s.num_minibatches} optimizer steps. Means over {sizes.seeds} agent seeds with 95 % bootstrap "
        "intervals over them, differences paired by seed; all optimizers had the same initial agents and the same "
        f"clipping of the gradient's norm ({s.max_norm:g}). The learned optimizer was not tuned. Each baseline was "
        f"tuned in each environment over {sizes.rates} learning rates, constant and annealed linearly to zero, by the "
        f"{MEASURES[config.training.fitness]} over {sizes.tuning_seeds} other seeds ({sizes.smallest_rate:g} to "
        f"{sizes.largest_rate:g}). 'untrained' is the rule with its initial meta-parameters. "
        "Intervals are of agent seeds under one trained rule; meta-training with another seed gives another rule."
    )
    at_edge = [f"{name} in {env}" for env, row in tuned.items() for name, choice in row.items() if choice.at_edge]
    if at_edge:
        text += f" The best rate is at the edge of the grid for {', '.join(at_edge)}."
    return text
