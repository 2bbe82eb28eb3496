"""Report, results and pictures of meta-training and meta-testing DiscoRL's rule."""

from collections.abc import Mapping
from typing import Any

from experiments.agents.meta_test import MetaTestResult, draw
from experiments.discorl.config import CATCH, DiscoStudyConfig
from lopt.evaluation import (
    bootstrap,
    curves,
    image,
    mean,
    paired_difference,
    table,
    verdict,
    write_report,
    write_results,
)
from lopt.training import NONFINITE, RunFolder

UNTRAINED = "untrained rule"
PANELS: dict[str, dict[str, str]] = {
    "new agents under the rule: return": {
        "validation/final": "after the last update",
        "validation/lifetime": "mean of the lifetime",
    },
    "agents of meta-training: reward per step": {"reward": "reward"},
    "meta-loss": {"meta_loss": "meta-loss"},
    "entropy (nats)": {"policy_entropy": "policy", "prediction_entropy": "prediction y"},
    "state of the lifetime LSTM": {"lifetime_state": "root mean square"},
    "norm of the meta-gradient": {"gradient_norm": "norm"},
    "fraction of non-finite lifetimes": {NONFINITE: "non-finite"},
}
"""Panels of the learning curves: by title, the metrics drawn and their labels."""


def environment_name(config: DiscoStudyConfig) -> str:
    """The environment, as text."""
    env = config.env
    return f"Catch {env.rows} x {env.columns}" if env.name == CATCH else env.name


def title(config: DiscoStudyConfig) -> str:
    """Title of the report."""
    what = "DiscoRL's rule, meta-trained" if config.rule is None else f"The rule {config.rule}, evaluated"
    return f"{what} on {environment_name(config)}"


def learning_curves(folder: RunFolder) -> str:
    """Draw the learning curves of meta-training as `curves.png`; returns Markdown that shows them."""
    return curves(folder, PANELS, "meta-step")


def write(
    config: DiscoStudyConfig, folder: RunFolder, results: Mapping[str, MetaTestResult], random_return: float
) -> None:
    """Write `report.md`, `results.json` and the pictures; `results` are by rule, the evaluated rule first."""
    name = environment_name(config)
    draw({name: results}, {name: config.agent.num_envs * config.agent.rollout_length}, folder.file("agents.png"))
    picture = image(
        "agents.png",
        "Returns of the episodes that began in each update: mean over seeds, and the middle half of them. An "
        "unfinished episode counts with its rewards until the end of the lifetime.",
    )
    sections = {
        "Agents trained from scratch under the rule": comparison(results, random_return),
        "Protocol": protocol(config),
    }
    if drawn := learning_curves(folder):
        sections["Meta-training"] = drawn
    first, *others = results
    final = results[first].final
    sentences = [
        verdict(f"The {first}", f"the {other}", paired_difference(final, results[other].final), "final return")
        for other in others
    ]
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "random": random_return,
            "returns": {label: _intervals(r) for label, r in results.items()},
            "minus": {
                label: {k: paired_difference(_measures(results[first])[k], x) for k, x in _measures(r).items()}
                for label, r in results.items()
                if label in others
            },
            "per_seed": {label: _measures(r) for label, r in results.items()},
            "curves": {label: r.curve for label, r in results.items()},
        },
    )
    write_report(folder, title(config), config, sections, "\n\n".join([*sentences, picture]))


def comparison(results: Mapping[str, MetaTestResult], random_return: float) -> str:
    """The table of returns by rule."""
    first = next(iter(results))
    rows: list[list[object]] = []
    for label, result in results.items():
        cells: list[object] = [label]
        for measure, values in _measures(result).items():
            best = _measures(results[first])[measure]
            cells += [bootstrap(values, mean), "" if label == first else str(paired_difference(best, values))]
        rows.append(cells)
    rows.append(["random policy", f"{random_return:.3f}", "", "", ""])
    minus = f"{first} minus this"
    return table(("rule", "final return", minus, "mean return over the lifetime", minus), rows)


def protocol(config: DiscoStudyConfig) -> str:
    """How agents were trained and measured, as text."""
    agent, sizes = config.agent, config.eval
    steps = sizes.num_updates * agent.num_envs * agent.rollout_length
    batches = (
        f"a batch of {agent.batch_size} trajectories of the last {agent.replay}"
        if agent.replay
        else "the rollout alone"
    )
    return (
        f"{sizes.seeds} agents per rule, of seeds that meta-training and validation do not use, are trained for "
        f"{sizes.num_updates} updates ({steps} environment steps). An update follows a rollout of "
        f"{agent.rollout_length} steps in {agent.num_envs} environments and uses {batches}. The rule does not change. "
        f"The final return is the mean over {sizes.episodes} episodes of the trained agent's stochastic policy. "
        "Agents of equal index have the same initial parameters and environments under all rules; differences are "
        "paired by them. Intervals are 95 % bootstrap intervals over agents; they say nothing of other seeds of "
        "meta-training."
    )


def _measures(result: MetaTestResult) -> dict[str, Any]:
    return {"final": result.final, "lifetime": result.lifetime_return}


def _intervals(result: MetaTestResult) -> dict[str, Any]:
    return {k: bootstrap(x, mean) for k, x in _measures(result).items()}
