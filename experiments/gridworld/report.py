"""report.md, results.json and the pictures of a run on grid worlds."""

import numpy as np

from experiments.common import plots
from experiments.common.folder import RunFolder
from experiments.common.report import image, table, write_report, write_results
from experiments.common.stats import Interval
from experiments.gridworld import measure, pictures
from experiments.gridworld.build import Study
from experiments.gridworld.config import StudyConfig

PANELS = {
    "held-out levels: A2C-normalised": ["held_out/a2c_normalised"],
    "held-out levels: return": ["held_out/return"],
    "training: reward per step": ["reward"],
    "meta-objective": ["objective"],
    "final return, the better of a pair": ["final_return"],
    "updates saved, in vain; not finite": ["saved", "masked", "frac_nonfinite"],
    "entropy (nats)": ["policy_entropy", "prediction_entropy"],
    "pi_hat squared": ["pi_hat_l2"],
    "value baseline: squared error": ["value_loss"],
    "meta-gradient norm": ["gradient_norm"],
    "share of lifetimes clipped": ["clipped"],
    "score of finished lives": ["finished_score"],
}


def write(config: StudyConfig, study: Study, folder: RunFolder, returns: dict[str, np.ndarray]) -> None:
    """Write everything that shows the result; `returns` are `[agent seeds, levels]` by who was measured."""
    scores = normalised(returns)
    raw = {name: _interval(values) for name, values in returns.items()}
    rows = [(name, raw[name], scores[name]) for name in returns]
    sections = {
        "Held-out levels": table(("agents under", "return", "random = 0, A2C = 1"), rows)
        + f"\n\nMean over {config.eval.final_levels} levels that were never trained on and {config.eval.seeds} agent "
        "seeds, with 95 % bootstrap intervals over levels and seeds; every agent is trained from scratch for one life "
        f"of {config.levels.lifetime} updates. 'optimal' knows the level and needs no training. {better(returns)}"
    }
    plots.intervals({"": {name: scores[name] for name in returns}}, folder.file("table.png"), "random = 0, A2C = 1")
    sections["Held-out levels"] += "\n\n" + image("table.png", "Scores on held-out levels with 95 % intervals.")
    panels = {
        title: names for title, names in PANELS.items() if config.score != "uniform" or names != ["finished_score"]
    }
    if plots.curves(folder.file("metrics.jsonl"), folder.file("curves.png"), panels, xlabel="meta-step"):
        sections["Learning curves"] = image("curves.png", "Raw values pale, moving means on top.")
    sections["What the rule asks for"] = image(
        "response.png",
        "pi_hat for an agent that is uniform in everything, rewarded once: against the reward, and for the steps "
        "before it. An agent makes what earns a positive pi_hat more likely.",
    )
    if pictures.draw_extremes(folder.path / "levels", folder.file("levels.png"), study.lifetime.env):
        caption = "What the curriculum would replay first (left) and last (right), by its score, over meta-training."
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
    write_report(folder, f"A learned policy gradient on grid worlds '{config.levels.distribution}'", config, sections)


def better(returns: dict[str, np.ndarray]) -> str:
    """How many levels are won: a mean return is carried by the few levels where much can be earned."""
    rule, a2c = returns["trained rule"].mean(0), returns["A2C"].mean(0)
    return f"The trained rule earns more than A2C on {(rule > a2c).sum()} of {rule.size} levels."


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
