"""Report and results of meta-training drifts."""

from collections.abc import Mapping
from typing import Any

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult
from experiments.agents.report import at_edge, comparison, conclusion, results_data
from experiments.agents.tuning import Tuned, describe
from lopt.evaluation import curves, image, write_report, write_results
from lopt.training import NONFINITE, RunFolder

LEARNED, UNTRAINED = "learned drift", "untrained drift"


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
    tuned: Mapping[str, Mapping[str, Tuned]],
    env_setups: Mapping[str, EnvSetup],
) -> None:
    """Write `report.md` and `results.json`; `results` and `tuned` are by environment and by drift."""
    sections = {}
    for name, row in results.items():
        heading = f"In {name}, " + ("an environment of meta-training" if name in config.envs else "not trained on")
        sections[heading] = comparison(row, tuned[name], "drift", LEARNED)
    picture = image(
        "agents.png", "Learning curves: means over seeds; the range of the middle half of the seeds is shaded."
    )
    sentences = [conclusion(row, name, LEARNED, "PPO") for name, row in results.items() if "PPO" in row]
    steps = ", ".join(f"{setup.settings.total_steps:,} on {name}" for name, setup in env_setups.items())
    sections["Protocol"] = (
        f"Agents are trained from scratch. Means over {config.eval.seeds} agent seeds with 95 % bootstrap intervals "
        f"over them, differences paired by seed; environment steps of each agent: {steps}. Under every drift alike the "
        f"agents were tuned in each environment over {describe(config.eval, config.meta.fitness)}{_further(config)}; "
        f"all other settings are the same.{at_edge(tuned)} Intervals are of agent seeds under one trained drift; "
        "meta-training with another seed gives another drift."
    )
    sections["The drift"] = image("drift.png", "The drift f(r, A), and the slope d(r A - f)/dr of the objective.")
    if drawn := learning_curves(config, folder):
        sections["Meta-training"] = drawn
    write_results(folder, {"seed": config.run.seed, **results_data(config.eval, results, tuned, LEARNED)})
    write_report(folder, title(config), config, sections, "\n\n".join([*sentences, picture]))


def _further(config: Any) -> str:
    """What agents were tuned over beside the learning rate."""
    epochs, clips = (", ".join(map(str, values)) for values in (config.eval.epochs, config.eval.clips))
    text = f", over numbers of epochs ({epochs} beside inner.epochs)" if epochs else ""
    return text + (f", PPO also over clipping ranges ({clips} beside 0.2)" if clips else "")
