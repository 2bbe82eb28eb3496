"""Report, results and pictures of meta-training the optimizer of PPO agents."""

from collections.abc import Mapping

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult, draw
from experiments.agents.report import at_edge, comparison, conclusion, results_data
from experiments.agents.tuning import Tuned, describe
from experiments.optimizer.rl.config import RLStudyConfig
from lopt.evaluation import curves, image, write_report, write_results
from lopt.training import NONFINITE, RunFolder

LEARNED, UNTRAINED = "learned", "untrained"
PANELS: dict[str, dict[str, str]] = {
    "validation: return": {"validation/final": "after the last update", "validation/lifetime": "mean of the lifetime"},
    "meta-loss: minus the fitness": {"meta_loss": "mean", "best_loss": "best"},
    "norm of the gradient estimate": {"gradient_norm": "norm"},
    "fraction of non-finite pairs": {NONFINITE: "non-finite"},
}
"""Panels of the learning curves: by title, the metrics drawn and their labels."""


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
        sections[heading] = comparison(row, tuned[name], "optimizer", LEARNED)
    draw(results, {name: setup.steps for name, setup in env_setups.items()}, folder.file("agents.png"))
    picture = image(
        "agents.png",
        "Returns of the episodes that began in each update: mean over seeds, and the middle half of them. An "
        "unfinished episode counts with its rewards until the end of the lifetime, so that the curves fall at the end.",
    )
    sections["Protocol"] = protocol(config, env_setups, tuned)
    if drawn := learning_curves(folder):
        sections["Meta-training"] = drawn
    write_results(folder, {"seed": config.run.seed, **results_data(config.eval, results, tuned, LEARNED)})
    sentences = [conclusion(row, name, LEARNED, "Adam") for name, row in results.items() if "Adam" in row]
    write_report(folder, title(config), config, sections, "\n\n".join([*sentences, picture]))


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
        f"tuned in each environment over {describe(sizes, config.training.fitness)}. 'untrained' is the rule with its "
        "initial meta-parameters. Intervals are of agent seeds under one trained rule; meta-training with another seed "
        "gives another rule."
    )
    return text + at_edge(tuned)
