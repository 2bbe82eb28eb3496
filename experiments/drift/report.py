"""Report and results of meta-training drifts."""

from collections.abc import Mapping
from typing import Any

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult
from lopt.evaluation import bootstrap, curves, image, mean, paired_difference, table, write_report, write_results
from lopt.training import NONFINITE, RunFolder

LEARNED = "learned drift"


def panels(envs: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Panels of the learning curves: by title, the metrics drawn and their labels."""
    return {
        **{f"{name}: return under the current drift": {f"validation/{name}": "return"} for name in envs},
        "meta-loss: minus the fitness": {"meta_loss": "mean", "best_loss": "best"},
        "norm of the gradient estimate": {"gradient_norm": "norm"},
        "fraction of non-finite pairs": {NONFINITE: "non-finite"},
    }


def title(config: Any) -> str:
    """Title of the report."""
    return f"A learned drift for PPO on {', '.join(config.envs)}"


def learning_curves(config: Any, folder: RunFolder) -> str:
    """Draw the learning curves of meta-training as `curves.png`; returns Markdown that shows them."""
    return curves(folder, panels(config.envs), "meta-step")


def write(
    config: Any,
    folder: RunFolder,
    results: Mapping[str, Mapping[str, MetaTestResult]],
    env_setups: Mapping[str, EnvSetup],
) -> None:
    """Write `report.md` and `results.json`; `results` are by environment and by drift."""
    rows, per_seed = [], {}
    for name, by_drift in results.items():
        learned = by_drift[LEARNED]
        for drift, result in by_drift.items():
            trained = "trained on" if name in config.envs else "not trained on"
            gains = [
                "" if drift == LEARNED else str(paired_difference(a, b))
                for a, b in ((learned.final, result.final), (learned.lifetime_return, result.lifetime_return))
            ]
            final, lifetime = bootstrap(result.final, mean), bootstrap(result.lifetime_return, mean)
            rows.append((name, trained, drift, final, gains[0], lifetime, gains[1]))
        per_seed[name] = {
            drift: {"final": result.final, "lifetime": result.lifetime_return} for drift, result in by_drift.items()
        }
    minus = "learned drift minus this"
    header = ("environment", "", "drift", "final return", minus, "mean return over the lifetime", minus)
    steps = ", ".join(f"{setup.settings.total_steps:,} on {name}" for name, setup in env_setups.items())
    sections = {
        "Meta-testing": table(header, rows)
        + f"\n\nAgents are trained from scratch. Means over {config.eval.seeds} agent seeds with 95 % bootstrap "
        f"intervals over them, differences paired by seed; environment steps of each agent: {steps}; all other "
        "settings are the same.\n\n"
        + image(
            "agents.png", "Learning curves: means over seeds; the range of the middle half of the seeds is shaded."
        ),
        "The drift": image(
            "drift.png",
            "The drift f(r, A), and the slope d(r A - f)/dr of the objective.",
        ),
    }
    if drawn := learning_curves(config, folder):
        sections["Meta-training"] = drawn
    returns = {
        env: {drift: {name: bootstrap(x, mean) for name, x in values.items()} for drift, values in by_drift.items()}
        for env, by_drift in per_seed.items()
    }
    write_results(folder, {"seed": config.run.seed, "returns": returns, "per_seed": per_seed})
    write_report(folder, title(config), config, sections)
