"""python -m experiments.horizons RUN [RUN ...] [--horizons 10 25 50 100] [--out FOLDER]: rules at several horizons."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.common import plots
from experiments.common.cache import enable_compilation_cache
from experiments.common.checks import at_least
from experiments.common.cli import command_line, report_errors
from experiments.common.config import revive, write_json, write_text
from experiments.common.report import table
from experiments.common.stats import Interval, bootstrap, mean
from experiments.gridworld import measure, response
from experiments.gridworld.build import Study, build
from experiments.gridworld.config import StudyConfig
from lopt.export import load_rule, rebuild
from lopt.objectives import LPG
from lopt.types import Theta

USAGE = "python -m experiments.horizons RUN [RUN ...] [--horizons 10 25 50 100] [--out FOLDER]"


@dataclass(frozen=True)
class HorizonsConfig:
    """Trains agents under the rules of finished lpg runs for lives of several lengths, and compares kinds of rules.

    Runs are grouped by what estimated the meta-gradient and by what the rule is told of time; intervals are over the
    runs of a group (its seeds).

    Raises:
        ValueError: no runs, or a number out of range.
    """

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders."""
    horizons: tuple[int, ...] = (10, 25, 50, 100)
    """Lengths of a life, in updates."""
    levels: int = 64
    """Held-out levels."""
    seeds: int = 2
    """Agent seeds per level."""
    out: str = ""
    """Folder for summary.md, summary.json and horizons.png."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(f"give at least one run folder (got 0)\nusage: {USAGE}")
        if not self.horizons:
            raise ValueError("horizons must name at least one length (got none)")
        at_least(1, self, "horizons", "levels", "seeds")


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: str
    config: StudyConfig
    command: str
    rule: LPG
    theta: Theta

    def study(self) -> Study:
        """Its parts, with the rule as it was trained: what it is given of time belongs to the rule file."""
        study = build(self.config)
        return replace(study, rule=self.rule, lifetime=replace(study.lifetime, objective=self.rule))

    @property
    def kind(self) -> str:
        """What it is grouped by."""
        return f"{self.config.meta.estimator}, time {self.config.rule.time}"


def load(folder: str) -> Run:
    """A run from its folder.

    Raises:
        ValueError: no finished run of lpg or groove there.
    """
    try:
        saved = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        config, command = revive(StudyConfig, saved["config"]), str(saved["command"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} holds no run of lpg or groove ({error})") from error
    if not (Path(folder) / "results.json").exists():
        raise ValueError(f"{folder}: the run is not finished (there is no results.json); go on with it by --resume")
    file = load_rule(Path(folder) / "rule")
    rule = rebuild(file.card)
    if not isinstance(rule, LPG):
        raise ValueError(f"{folder}: the rule is of another kind (got {file.card.kind}, expected lopt.objectives.LPG)")
    return Run(folder, config, command, rule, jax.tree.map(jnp.asarray, file.theta))


def score(run: Run, study: Study, config: HorizonsConfig, scales: dict[Any, Any]) -> np.ndarray:
    """Scores `[horizons]` on the scale random = 0, A2C = 1 of a life of the same length."""
    gauge = measure.Gauge(study, max(config.horizons), run.config.eval.episodes)
    ruled = gauge.returns(study.lifetime)
    levels = measure.held_out(run.config, study, measure.HELD_OUT_TABLE, config.levels)
    scores = []
    for horizon in config.horizons:
        here = levels.replace(lifetime=jnp.full_like(levels.lifetime, horizon))
        keys = jax.random.split(jax.random.key(horizon), config.seeds)
        what = (run.config.levels.distribution, run.config.agent, horizon)
        if what not in scales:  # the same for every rule
            taught = gauge.returns(study.antagonist)
            a2c = np.stack([np.asarray(taught(key, (), here)) for key in keys])
            scales[what] = np.asarray(gauge.random(keys[0], here)), a2c
        returns = np.stack([np.asarray(ruled(key, run.theta, here)) for key in keys])
        scores.append(measure.normalised(returns, *scales[what]))
    return np.array(scores)


def heed(run: Run, study: Study) -> float:
    """How much pi_hat of a rewarded step varies with n / N, relative to how much it varies with the reward (standard
    deviations); 0 for a rule that does not know the time."""
    pi_hat = response.response(study.rule, run.theta, np.linspace(-1, 1, 21), run.config.levels.lifetime)
    pi_hat = pi_hat[:, :, response.AT]
    return float(pi_hat.std(0).mean() / max(pi_hat.std(1).mean(), 1e-9))


def main() -> None:
    """Measure, print a table, and perhaps write it."""
    config = tyro.cli(HorizonsConfig, args=sys.argv[1:], prog="python -m experiments.horizons")
    enable_compilation_cache()
    runs = [load(folder) for folder in config.runs]
    groups: dict[str, list[tuple[np.ndarray, float]]] = {}
    scales: dict[Any, Any] = {}
    for run in runs:
        study = run.study()
        found = score(run, study, config, scales), heed(run, study)
        print(f"{run.folder} ({run.kind}): {np.round(found[0], 3)}, heeds time {found[1]:.3f}", flush=True)
        groups.setdefault(run.kind, []).append(found)
    text, data = summary(config, runs, groups)
    print("\n" + text)
    if config.out:
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "summary.md", f"# {folder.name}\n\n{text}\n![Scores by horizon](horizons.png)\n")
        write_json(folder / "summary.json", data)
        draw(config.horizons, {kind: np.stack([scores for scores, _ in rows]) for kind, rows in groups.items()}, folder)


def summary(
    config: HorizonsConfig, runs: list[Run], groups: Mapping[str, list[tuple[np.ndarray, float]]]
) -> tuple[str, dict[str, Any]]:
    """The summary as Markdown and as data."""
    rows, data = [], {"horizons": list(config.horizons), "commands": [run.command for run in runs]}
    for kind, found in groups.items():
        scores, heeds = np.stack([scores for scores, _ in found]), np.array([value for _, value in found])
        rows.append((kind, len(found), *(bootstrap(column, mean) for column in scores.T), bootstrap(heeds, mean)))
        data[kind] = {"scores": scores.tolist(), "heeds_time": heeds.tolist()}
    header = ("rule", "runs", *(f"N = {h}" for h in config.horizons), "pi_hat: std over n/N, relative to reward's")
    text = (
        "Agents trained from scratch for N updates; random = 0, A2C with as many updates = 1; means over the runs of a "
        f"kind with 95 % bootstrap intervals, on {config.levels} held-out levels with {config.seeds} agent seeds.\n\n"
    )
    commands = "\n".join([run.command for run in runs] + [command_line()])
    return f"{text}{table(header, rows)}\n\n```\n{commands}\n```\n", data


def draw(horizons: tuple[int, ...], groups: Mapping[str, np.ndarray], folder: Path) -> None:
    """Scores over horizons, a line per kind of rule."""
    with plots.figure(folder / "horizons.png", size=(5.2, 3.0)) as (_, axes):
        axis = axes[0, 0]
        for color, (kind, scores) in zip(plots.COLORS, groups.items(), strict=False):
            columns: list[Interval] = [bootstrap(column, mean) for column in scores.T]
            axis.fill_between(horizons, [c.low for c in columns], [c.high for c in columns], color=color, alpha=0.2)
            axis.plot(horizons, [c.value for c in columns], color=color, marker="o", label=kind)
        axis.set(xscale="log", xlabel="horizon N (updates)", ylabel="random = 0, A2C = 1", xticks=horizons)
        axis.set_xticklabels(map(str, horizons))
        axis.minorticks_off()
        axis.legend()


if __name__ == "__main__":
    report_errors(main)
