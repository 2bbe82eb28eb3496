"""Meta-testing of rules at several lifetime lengths.

python -m experiments.horizons RUN [RUN ...] [--horizons 10 25 50 100] [--out FOLDER]
"""

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

from experiments.grid import measure
from experiments.grid.build import Study, build
from experiments.grid.config import StudyConfig
from lopt.evaluation import Interval, bootstrap, lpg_response, mean, normalised, plots, table, write_summary
from lopt.objectives import LPG
from lopt.rules import load_rule, rebuild
from lopt.training import command_line, enable_compilation_cache, from_json
from lopt.training.checks import at_least
from lopt.types import Theta

USAGE = "python -m experiments.horizons RUN [RUN ...] [--horizons 10 25 50 100] [--out FOLDER]"


@dataclass(frozen=True)
class HorizonsConfig:
    """Meta-tests the rules of finished lpg runs at several lifetime lengths, and compares groups of rules.

    Runs are grouped by the estimator of the meta-gradient and by the time inputs of the rule; intervals are over the
    runs of a group (its seeds).

    Raises:
        ValueError: no runs, or a number out of range.
    """

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Folders of finished runs of experiments.lpg or experiments.groove."""
    horizons: tuple[int, ...] = (10, 25, 50, 100)
    """Lifetime lengths N at which agents are trained, in updates."""
    levels: int = 64
    """Number of held-out levels."""
    seeds: int = 2
    """Number of agents per level."""
    out: str = ""
    """Folder for summary.md, summary.json and horizons.png; without it the summary is only printed."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(f"give at least one run folder (got 0)\nusage: {USAGE}")
        if not self.horizons:
            raise ValueError("horizons must name at least one length (got none)")
        at_least(1, self, "horizons", "levels", "seeds")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: of the run.
        config: of the run.
        command: that started it.
        rule: the learned policy gradient of its rule file.
        theta: its meta-parameters.
    """

    folder: str
    config: StudyConfig
    command: str
    rule: LPG
    theta: Theta

    def study(self) -> Study:
        """The study of the configuration, with the rule of the rule file, whose time inputs may have another scale."""
        study = build(self.config)
        return replace(study, rule=self.rule, lifetime=replace(study.lifetime, objective=self.rule))

    @property
    def kind(self) -> str:
        """The group: estimator of the meta-gradient and time inputs."""
        return f"{self.config.meta.estimator}, time {self.config.rule.time}"


def load(folder: str) -> Run:
    """Load a run.

    Raises:
        ValueError: the folder holds no finished run of lpg or groove, or a rule that is no LPG.
    """
    try:
        saved = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        config, command = from_json(StudyConfig, saved["config"]), str(saved["command"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} holds no run of lpg or groove ({error})") from error
    if not (Path(folder) / "results.json").exists():
        raise ValueError(f"{folder}: the run is not finished (there is no results.json); continue it with --resume")
    file = load_rule(Path(folder) / "rule")
    rule = rebuild(file.card)
    if not isinstance(rule, LPG):
        raise ValueError(f"{folder}: the rule is of another kind (got {file.card.kind}, expected lopt.objectives.LPG)")
    return Run(folder, config, command, rule, jax.tree.map(jnp.asarray, file.theta))


def score(run: Run, study: Study, config: HorizonsConfig, baselines: dict[Any, Any]) -> np.ndarray:
    """A2C-normalised scores `[horizons]`; A2C is trained for as many updates as the agents under the rule.

    `baselines` caches the returns of the random policy and of A2C between runs.
    """
    episodes = run.config.eval.episodes
    tester, a2c_tester = (
        measure.meta_tester(study, lifetime, max(config.horizons), episodes)
        for lifetime in (study.lifetime, study.antagonist)
    )
    levels = measure.held_out(run.config, study, measure.HELD_OUT_TABLE, config.levels)
    scores = []
    for horizon in config.horizons:
        resized = levels.replace(num_updates=jnp.full_like(levels.num_updates, horizon))
        keys = jax.random.split(jax.random.key(horizon), config.seeds)
        setting = (run.config.levels.distribution, run.config.agent, horizon)
        if setting not in baselines:  # the same for every rule
            a2c = np.stack([measure.returns(a2c_tester, key, (), resized) for key in keys])
            baselines[setting] = measure.random(study, keys[0], resized, episodes), a2c
        returns = np.stack([measure.returns(tester, key, run.theta, resized) for key in keys])
        scores.append(normalised(returns, *baselines[setting]))
    return np.array(scores)


def time_sensitivity(run: Run, study: Study) -> float:
    """std of pi_hat over n / N, relative to its std over the reward, both at a rewarded step; 0 without time inputs.

    Standard deviations are over the fractions and rewards of `response`, and averaged over the other axis.
    """
    pi_hat = lpg_response.response(study.rule, run.theta, np.linspace(-1, 1, 21), run.config.levels.num_updates)
    pi_hat = pi_hat[:, :, lpg_response.REWARDED]
    return float(pi_hat.std(0).mean() / max(pi_hat.std(1).mean(), 1e-9))


def main() -> None:
    """Meta-test the runs, print the summary, and write it if `out` is given."""
    config = tyro.cli(HorizonsConfig, args=sys.argv[1:], prog="python -m experiments.horizons")
    enable_compilation_cache()
    runs = [load(folder) for folder in config.runs]
    groups: dict[str, list[tuple[np.ndarray, float]]] = {}
    baselines: dict[Any, Any] = {}
    for run in runs:
        study = run.study()
        scores, sensitivity = score(run, study, config, baselines), time_sensitivity(run, study)
        print(f"{run.folder} ({run.kind}): {np.round(scores, 3)}, time sensitivity {sensitivity:.3f}", flush=True)
        groups.setdefault(run.kind, []).append((scores, sensitivity))
    text, data = summary(config, runs, groups)
    print("\n" + text)
    if config.out:
        folder = Path(config.out)
        write_summary(folder, f"{text}\n![Scores by horizon](horizons.png)\n", data)
        draw(config.horizons, {kind: np.stack([scores for scores, _ in rows]) for kind, rows in groups.items()}, folder)


def summary(
    config: HorizonsConfig, runs: list[Run], groups: Mapping[str, list[tuple[np.ndarray, float]]]
) -> tuple[str, dict[str, Any]]:
    """The summary as Markdown and as JSON data; `groups` are scores `[horizons]` and time sensitivity of each run."""
    rows, data = [], {"horizons": list(config.horizons), "commands": [run.command for run in runs]}
    for kind, results in groups.items():
        scores, sensitivity = np.stack([row for row, _ in results]), np.array([value for _, value in results])
        rows.append(
            (kind, len(results), *(bootstrap(column, mean) for column in scores.T), bootstrap(sensitivity, mean))
        )
        data[kind] = {"scores": scores.tolist(), "time_sensitivity": sensitivity.tolist()}
    header = ("rule", "runs", *(f"N = {h}" for h in config.horizons), "std of pi_hat over n/N / std over the reward")
    text = (
        "Agents trained from scratch for N updates; random = 0, A2C with as many updates = 1; means over the runs of a "
        f"group with 95 % bootstrap intervals, on {config.levels} held-out levels with {config.seeds} agent seeds.\n\n"
    )
    commands = "\n".join([run.command for run in runs] + [command_line()])
    return f"{text}{table(header, rows)}\n\n```\n{commands}\n```\n", data


def draw(horizons: tuple[int, ...], groups: Mapping[str, np.ndarray], folder: Path) -> None:
    """Draw scores over horizons; `groups` are `[runs, horizons]`."""
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
