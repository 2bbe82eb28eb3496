"""report.md, results.json and the pictures of a run on grid worlds."""

import numpy as np

from experiments.common import plots
from experiments.common.folder import RunFolder
from experiments.common.logging import NONFINITE, read_metrics
from experiments.common.report import curves, image, table, write_report, write_results
from experiments.common.stats import Interval
from experiments.gridworld import measure, pictures
from experiments.gridworld.build import Study
from experiments.gridworld.config import StudyConfig

NORMALISED, RETURN = "held-out levels: random = 0, A2C = 1", "held-out levels: return"
PANELS: dict[str, dict[str, str]] = {
    NORMALISED: {"held_out/a2c_normalised": "rule"},
    RETURN: {"held_out/return": "rule"},
    "training: reward per step": {"reward": "reward"},
    "meta-objective": {"objective": "meta-objective"},
    "final return, the better of a pair": {"final_return": "final return"},
    "fraction of updates": {"saved": "skipped: the lifetime was over", "masked": "computed in vain"},
    "fraction of lifetimes left out": {NONFINITE: "not finite"},
    "entropy (nats)": {"policy_entropy": "policy", "prediction_entropy": "prediction y"},
    "mean square of pi_hat": {"pi_hat_l2": "pi_hat squared"},
    "value baseline: squared error": {"value_loss": "squared error"},
    "meta-gradient norm": {"gradient_norm": "norm"},
    "fraction of lifetimes clipped": {"clipped": "clipped"},
    "score of finished lifetimes": {"finished_score": "score"},
}
"""By title, the metrics drawn in a panel and what they are called."""


def title(config: StudyConfig) -> str:
    """Of the report."""
    return f"A learned policy gradient on grid worlds '{config.levels.distribution}'"


def lifetimes(config: StudyConfig) -> str:
    """How many updates agents are trained for."""
    shortest, longest = config.levels.shortest, config.levels.lifetime
    return f"{longest}" if shortest is None else f"{shortest} to {longest}"


def learning(config: StudyConfig, folder: RunFolder) -> str:
    """Draw the learning curves; the Markdown that shows them."""
    panels = dict(PANELS)
    if config.score == "uniform":
        panels.pop("score of finished lifetimes")
    return curves(folder, panels, "meta-step", references(read_metrics(folder.file("metrics.jsonl"))))


def references(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """What the rule is compared with on the held-out levels of the learning curve, by panel and by who it is."""
    measured = next((row for row in reversed(rows) if "held_out/a2c_return" in row), {})
    names = {"A2C": "held_out/a2c_return", "optimum": "held_out/optimal_return", "random": "held_out/random_return"}
    returns = {who: measured[name] for who, name in names.items() if name in measured}
    if not returns or returns["A2C"] == returns["random"]:
        return {RETURN: returns}
    gap = returns["A2C"] - returns["random"]
    return {RETURN: returns, NORMALISED: {who: (x - returns["random"]) / gap for who, x in returns.items()}}


def write(config: StudyConfig, study: Study, folder: RunFolder, returns: dict[str, np.ndarray]) -> None:
    """Write everything that shows the result; `returns` are `[agent seeds, levels]` by who was measured."""
    scores = normalised(returns)
    raw = {name: _interval(values) for name, values in returns.items()}
    rows = [(name, raw[name], scores[name]) for name in returns]
    text = (
        f"\n\nMean over {config.eval.final_levels} levels that were never trained on and {config.eval.seeds} agent "
        "seeds, with 95 % bootstrap intervals over levels and seeds; every agent is trained from scratch for "
        f"{lifetimes(config)} updates. "
    )
    if "optimal" in returns:
        text += "'optimal' is the exact optimum of a level, without training. "
    sections = {
        "Held-out levels": table(("agents under", "return", "random = 0, A2C = 1"), rows) + text + better(returns)
    }
    plots.intervals({"": {name: scores[name] for name in returns}}, folder.file("table.png"), "random = 0, A2C = 1")
    sections["Held-out levels"] += "\n\n" + image("table.png", "Scores on held-out levels with 95 % intervals.")
    if drawn := learning(config, folder):
        sections["Learning curves"] = drawn
    sections["What the rule asks for"] = image(
        "response.png",
        "pi_hat for an agent that is uniform in everything, rewarded once: against the reward, and for the steps "
        "before it. An agent makes what earns a positive pi_hat more likely.",
    )
    if pictures.draw_extremes(folder.path / "levels", folder.file("levels.png"), study.lifetime.env):
        caption = (
            f"What the curriculum would replay first (left) and last (right) over meta-training, by its score "
            f"({config.score}), which stands above each level."
        )
        sections["Levels the curriculum prefers"] = image("levels.png", caption)
    write_results(
        folder,
        {
            "seed": config.run.seed,
            "returns": raw,
            "a2c_normalised": scores,
            "per_level": {name: values.mean(0) for name, values in returns.items()},
        },
    )
    write_report(folder, title(config), config, sections)


def better(returns: dict[str, np.ndarray]) -> str:
    """On how many levels the rule is ahead of A2C: a mean return is carried by the few levels where much can be
    earned. And whether meta-training changed anything."""
    rule, a2c = returns["trained rule"].mean(0), returns["A2C"].mean(0)
    text = (
        f"The trained rule earns more than A2C on {(rule > a2c).sum()} of {rule.size} levels, less on "
        f"{(rule < a2c).sum()}; its mean return is {'higher' if rule.mean() > a2c.mean() else 'not higher'}."
    )
    if np.array_equal(returns["trained rule"], returns["untrained rule"]):
        text += " **Agents under the trained rule did exactly as those under the untrained one: nothing was learned.**"
    return text


def normalised(returns: dict[str, np.ndarray]) -> dict[str, Interval]:
    """A2C-normalised scores with intervals."""
    random, a2c = returns["random"][0], returns["A2C"]
    return {name: measure.normalised_interval(values, random, a2c) for name, values in returns.items()}


def _interval(values: np.ndarray) -> Interval:
    """The mean return with an interval over levels and, within them, seeds."""
    rng = np.random.default_rng(0)
    seeds, levels = values.shape
    samples = []
    for _ in range(2000):
        level = rng.integers(0, levels, levels)
        samples.append(values[rng.integers(0, seeds, (seeds, levels)), level].mean())
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
