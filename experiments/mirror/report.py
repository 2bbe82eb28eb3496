"""report.md and results.json of a run on drifts."""

from collections.abc import Mapping
from typing import Any

from experiments.common.folder import RunFolder
from experiments.common.logging import NONFINITE
from experiments.common.report import curves, image, table, write_report, write_results
from experiments.common.stats import bootstrap, mean, paired_difference
from experiments.mirror.agents import Learned
from experiments.mirror.build import World

LEARNED = "learned drift"


def panels(envs: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Curves of the meta-training."""
    return {
        **{f"{name}: return under the mean drift": {f"validation/{name}": "return"} for name in envs},
        "minus the fitness of the candidates": {"meta_loss": "mean", "best_loss": "best"},
        "norm of the gradient's estimate": {"gradient_norm": "norm"},
        "fraction of pairs left out": {NONFINITE: "not finite"},
    }


def title(config: Any) -> str:
    """Of the report."""
    return f"A learned drift for PPO on {', '.join(config.envs)}"


def learning(config: Any, folder: RunFolder) -> str:
    """Draw the learning curves; the Markdown that shows them."""
    return curves(folder, panels(config.envs), "meta-step")


def write(
    config: Any, folder: RunFolder, found: Mapping[str, Mapping[str, Learned]], worlds: Mapping[str, World]
) -> None:
    """Write everything that shows the result."""
    rows, results = [], {}
    for name, by_drift in found.items():
        ours = by_drift[LEARNED]
        for drift, learned in by_drift.items():
            trained = "trained on" if name in config.envs else "not trained on"
            gains = [
                "" if drift == LEARNED else str(paired_difference(a, b))
                for a, b in ((ours.final, learned.final), (ours.life, learned.life))
            ]
            final, life = bootstrap(learned.final, mean), bootstrap(learned.life, mean)
            rows.append((name, trained, drift, final, gains[0], life, gains[1]))
        results[name] = {drift: {"final": m.final, "life": m.life} for drift, m in by_drift.items()}
    minus = "learned drift minus this"
    header = ("environment", "", "agents under", "final return", minus, "mean return over life", minus)
    steps = ", ".join(f"{w.settings.total_steps:,} on {name}" for name, w in worlds.items())
    sections = {
        "Agents trained from scratch": table(header, rows)
        + f"\n\nMeans over {config.eval.seeds} agent seeds with 95 % bootstrap intervals over them, differences paired "
        f"by seed; environment steps of each agent: {steps}; all else is equal.\n\n"
        + image("agents.png", "Learning curves: means over seeds, the middle half of them shaded."),
        "The drift": image(
            "drift.png",
            "What moving a probability by the ratio r costs, and the slope of the objective r A - f that is left.",
        ),
    }
    if drawn := learning(config, folder):
        sections["Meta-training"] = drawn
    returns = {
        env: {drift: {which: bootstrap(x, mean) for which, x in m.items()} for drift, m in by.items()}
        for env, by in results.items()
    }
    write_results(folder, {"seed": config.run.seed, "returns": returns, "per_seed": results})
    write_report(folder, title(config), config, sections)
