"""report.md and results.json of a run on drifts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import plots
from experiments.common.folder import RunFolder
from experiments.common.report import image, table, write_report, write_results
from experiments.common.stats import bootstrap, mean, paired_difference
from experiments.mirror.agents import Learned
from experiments.mirror.build import World

LEARNED = "learned drift"


def panels(envs: tuple[str, ...]) -> dict[str, list[str]]:
    """Curves of the meta-training."""
    return {
        **{f"{name}: return under the mean drift": [f"validation/{name}"] for name in envs},
        "fitness of the candidates (negated)": ["meta_loss", "best_loss"],
        "gradient norm": ["gradient_norm"],
    }


def write(
    config: Any, folder: RunFolder, found: Mapping[str, Mapping[str, Learned]], worlds: Mapping[str, World]
) -> None:
    """Write everything that shows the result."""
    rows, results = [], {}
    for name, by_drift in found.items():
        ours = by_drift[LEARNED].final
        for drift, learned in by_drift.items():
            final = bootstrap(learned.final, mean)
            gain = "" if drift == LEARNED else str(paired_difference(ours, learned.final))
            trained = "trained on" if name in config.envs else "not trained on"
            rows.append((name, trained, drift, final, gain))
        results[name] = {drift: learned.final for drift, learned in by_drift.items()}
    header = ("environment", "", "agents under", "final return", "learned drift minus this, paired by seed")
    steps = ", ".join(f"{w.settings.total_steps:,} on {name}" for name, w in worlds.items())
    sections = {
        "Agents trained from scratch": table(header, rows)
        + f"\n\nMeans over {config.eval.seeds} agent seeds with 95 % bootstrap intervals over them; environment steps "
        f"of each agent: {steps}; all else is equal.\n\n"
        + image("agents.png", "Learning curves: means over seeds, the middle half of them shaded."),
        "The drift": image(
            "drift.png",
            "What moving a probability by the ratio r costs, and the slope of the objective r A - f that is left.",
        ),
    }
    if plots.curves(folder.file("metrics.jsonl"), folder.file("curves.png"), panels(config.envs), xlabel="meta-step"):
        sections["Meta-training"] = image("curves.png", "Raw values pale, moving means on top.")
    returns = {env: {drift: bootstrap(final, mean) for drift, final in by.items()} for env, by in results.items()}
    per_seed = {env: {drift: np.asarray(final) for drift, final in by.items()} for env, by in results.items()}
    write_results(folder, {"seed": config.run.seed, "returns": returns, "per_seed": per_seed})
    write_report(folder, f"A learned drift for PPO on {', '.join(config.envs)}", config, sections)
