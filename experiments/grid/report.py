"""Report, results and pictures of meta-training on grid worlds."""

import numpy as np

from experiments.grid import measure, pictures
from experiments.grid.build import Study
from experiments.grid.config import StudyConfig
from lopt.evaluation import (
    Axis,
    Interval,
    bootstrap,
    curves,
    image,
    mean,
    plots,
    table,
    verdict,
    write_report,
    write_results,
)
from lopt.objectives import LPG
from lopt.training import NONFINITE, RunFolder, read_metrics

NORMALISED, RETURN = "held-out levels: random = 0, A2C = 1", "held-out levels: return"
PANELS: dict[str, dict[str, str]] = {
    NORMALISED: {"held_out/a2c_normalised": "rule"},
    RETURN: {"held_out/return": "rule"},
    "prediction frozen - not frozen, random = 0, A2C = 1": {"held_out/frozen_difference": "difference"},
    "training: reward per step": {"reward": "reward"},
    "meta-objective": {"objective": "meta-objective"},
    "final return, the better one of a pair": {"final_return": "final return"},
    "fraction of updates": {
        "frac_updates_skipped": "skipped: lifetime over",
        "frac_updates_wasted": "wasted: computed after the end",
    },
    "fraction of non-finite lifetimes": {NONFINITE: "non-finite"},
    "entropy (nats)": {"policy_entropy": "policy", "prediction_entropy": "prediction y"},
    "mean square of pi_hat": {"pi_hat_l2": "pi_hat squared"},
    "value baseline: squared error": {"value_loss": "squared error"},
    "meta-gradient norm": {"gradient_norm": "norm"},
    "fraction of lifetimes clipped": {"clipped": "clipped"},
    "score of finished lifetimes": {"finished_score": "score"},
}
"""Panels of the learning curves: by title, the metrics drawn and their labels."""


def title(config: StudyConfig) -> str:
    """Title of the report."""
    return f"A learned policy gradient on grid worlds '{config.levels.distribution}'"


def lifetimes(config: StudyConfig) -> str:
    """Number of updates in a lifetime, as text: one number or a range."""
    shortest, longest = config.levels.shortest, config.levels.num_updates
    return f"{longest}" if shortest is None else f"{shortest} to {longest}"


def learning_curves(config: StudyConfig, folder: RunFolder) -> str:
    """Draw the learning curves of meta-training as `curves.png`; returns Markdown that shows them."""
    panels = dict(PANELS)
    if config.score == "uniform":
        panels.pop("score of finished lifetimes")
    return curves(folder, panels, "meta-step", references(read_metrics(folder.file("metrics.jsonl"))))


def references(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Baselines on the held-out levels of the validation curve, by panel and by name; `rows` are the logged metrics."""
    baselines = next((row for row in reversed(rows) if "held_out/a2c_return" in row), {})
    names = {"A2C": "held_out/a2c_return", "optimum": "held_out/optimal_return", "random": "held_out/random_return"}
    returns = {label: baselines[name] for label, name in names.items() if name in baselines}
    if not returns or returns["A2C"] == returns["random"]:
        return {RETURN: returns}
    gap = returns["A2C"] - returns["random"]
    return {RETURN: returns, NORMALISED: {label: (x - returns["random"]) / gap for label, x in returns.items()}}


def write(config: StudyConfig, study: Study, folder: RunFolder, returns: dict[str, np.ndarray]) -> None:
    """Write `report.md`, `results.json` and their pictures.

    `returns` are `[agent seeds, levels]` by method, as `measure.table` has them.
    """
    scores = normalised_scores(returns)
    raw = {name: bootstrap(values, mean, axes=(Axis.NESTED, Axis.CROSSED)) for name, values in returns.items()}
    header = ["method", "return", "random = 0, A2C = 1"]
    rows = [[name, raw[name], scores[name]] for name in returns]
    if "optimal" in returns:
        header.append("mean over levels, random = 0, optimum = 1")
        for row, values in zip(rows, returns.values(), strict=True):
            row.append(measure.per_level_interval(values, returns["random"][0], returns["optimal"][0]))
    text = (
        f"\n\nMean over {config.eval.final_levels} held-out levels and {config.eval.seeds} agent seeds, with 95 % "
        "bootstrap intervals over levels and seeds. Every agent is trained from scratch for "
        f"{lifetimes(config)} updates. "
    )
    if "optimal" in returns:
        text += "'optimal' is the exact optimal return of a level. "
    gaps = differences(returns)
    sections = {"Held-out levels": table(header, rows) + text + comparison(returns, gaps)}
    plots.intervals({"": {name: scores[name] for name in returns}}, folder.file("table.png"), "random = 0, A2C = 1")
    lead = f"{conclusion(gaps)}\n\n{image('table.png', 'Scores on held-out levels with 95 % intervals.')}"
    if drawn := learning_curves(config, folder):
        sections["Learning curves"] = drawn
    if isinstance(study.rule, LPG):
        sections["Response of the rule to a reward"] = image(
            "response.png",
            "pi_hat for an agent with a uniform policy and uniform predictions, on a rollout with a single reward: at "
            "the rewarded step as a function of the reward, and at all steps for a reward of 1. A positive pi_hat "
            "makes the action more likely.",
        )
    if pictures.draw_extremes(folder.path / "levels", folder.file("levels.png"), study.distribution.environment):
        caption = (
            f"Levels with the highest (left) and the lowest (right) score ({config.score}) in the replay buffer over "
            "meta-training. The score is above each level."
        )
        sections["Levels by score"] = image("levels.png", caption)
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "returns": raw,
            "a2c_normalised": scores,
            "differences": gaps,
            "per_level": {name: values.mean(0) for name, values in returns.items()},
        },
    )
    write_report(folder, title(config), config, sections, lead)


def differences(returns: dict[str, np.ndarray]) -> dict[str, Interval]:
    """Paired differences of A2C-normalised scores: the rule to both A2Cs, and what a learned prediction is worth."""
    random, a2c = returns["random"][0], returns["A2C"]
    pairs = {
        "trained rule - A2C": (measure.TRAINED, "A2C"),
        "trained rule - A2C with raw advantages": (measure.TRAINED, measure.RAW_A2C),
        "trained rule, prediction frozen - not frozen": (measure.FROZEN, measure.TRAINED),
        "A2C, critic frozen - not frozen": ("A2C, critic frozen", "A2C"),
        "trained rule - untrained rule": (measure.TRAINED, measure.UNTRAINED),
    }
    return {
        label: measure.difference(returns[first], returns[second], random, a2c)
        for label, (first, second) in pairs.items()
        if first in returns and second in returns
    }


def conclusion(gaps: dict[str, Interval]) -> str:
    """How the trained rule compares with the better one of the two A2C baselines, in one sentence."""
    gap = min((gaps[label] for label in gaps if label.startswith("trained rule - A2C")), key=lambda gap: gap.value)
    return verdict("The trained rule", "the better one of the two A2C baselines", gap, "random = 0, A2C = 1")


def comparison(returns: dict[str, np.ndarray], gaps: dict[str, Interval]) -> str:
    """On how many levels the rule is above A2C; whether it bootstraps, and whether meta-training changed anything.

    The mean return is dominated by the few levels with large returns, so that it can differ from the count of levels.

    Args:
        returns: by method, `[seeds, levels]`.
        gaps: their `differences`, which take seconds.
    """
    rule, a2c = returns[measure.TRAINED].mean(0), returns["A2C"].mean(0)
    text = (
        f"The return of the rule is higher than A2C's on {(rule > a2c).sum()} of {rule.size} levels and lower on "
        f"{(rule < a2c).sum()}."
    )
    frozen = gaps.get("trained rule, prediction frozen - not frozen")
    if frozen is not None:
        uses = "uses" if frozen.high < 0 else "does not demonstrably use"
        text += f" The rule {uses} its prediction: with the prediction frozen its score differs by {frozen}."
    if np.array_equal(returns[measure.TRAINED], returns[measure.UNTRAINED]):
        text += " **Returns under the trained and the untrained rule are identical: meta-training had no effect.**"
    return text + "\n\n" + table(("paired difference of scores with random = 0, A2C = 1", ""), list(gaps.items()))


def normalised_scores(returns: dict[str, np.ndarray]) -> dict[str, Interval]:
    """A2C-normalised scores with 95 % intervals, by method."""
    random, a2c = returns["random"][0], returns["A2C"]
    return {name: measure.normalised_interval(values, random, a2c) for name, values in returns.items()}
