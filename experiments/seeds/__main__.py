"""python -m experiments.seeds RUN [RUN ...] [--against RUN ...] [--out FOLDER]: the mean over meta-training seeds."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.common.cli import command_line, report_errors
from experiments.common.config import write_json, write_text
from experiments.common.report import table
from experiments.common.stats import Interval, bootstrap, mean, paired_difference


@dataclass(frozen=True)
class SeedsConfig:
    """Summarises finished runs of one configuration over their seeds, with 95 % bootstrap intervals over seeds."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders."""
    against: tuple[str, ...] = ()
    """Run folders of another configuration with the same seeds, to compare with seed by seed."""
    out: str = ""
    """Folder for summary.md and summary.json."""


def load(folders: tuple[str, ...]) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The common configuration (without the seed), and the results by seed.

    Raises:
        ValueError: a folder without results, two runs of one seed, or runs of different configurations.
    """
    configs, results = [], {}
    for folder in folders:
        path = Path(folder)
        try:
            config = json.loads((path / "config.json").read_text())
            result = json.loads((path / "results.json").read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} holds no finished run ({error})") from error
        seed = result["seed"]
        if seed in results:
            raise ValueError(f"{folder}: seed {seed} is there twice; give runs of different seeds")
        results[seed] = result
        configs.append(({k: v for k, v in config["config"].items() if k != "seed"}, config["command"]))
    for other, _ in configs[1:]:
        if other != configs[0][0]:
            raise ValueError(f"{', '.join(folders)}: these are runs of different configurations")
    return {"config": configs[0][0], "commands": [command for _, command in configs]}, dict(sorted(results.items()))


def over_seeds(results: dict[int, dict[str, Any]], who: str, scale: str) -> np.ndarray:
    """One value per seed, in the order of the seeds."""
    return np.array([result[scale][who]["value"] for result in results.values()])


def summary(config: SeedsConfig) -> tuple[str, dict[str, Any]]:
    """The summary as Markdown and as data."""
    about, results = load(config.runs)
    rows, data = [], {"seeds": list(results), "commands": about["commands"], "config": about["config"]}
    for who in next(iter(results.values()))["a2c_normalised"]:
        scores = over_seeds(results, who, "a2c_normalised")
        interval = bootstrap(scores, mean)
        returns = bootstrap(over_seeds(results, who, "returns"), mean)
        rows.append((who, returns, interval, " ".join(f"{score:.2f}" for score in scores)))
        data[who] = {"return": _plain(returns), "a2c_normalised": _plain(interval), "per_seed": scores.tolist()}
    text = f"Seeds {', '.join(map(str, results))}; 95 % bootstrap intervals over meta-training seeds.\n\n"
    text += table(("agents under", "return", "random = 0, A2C = 1", "per seed"), rows)
    if config.against:
        other_about, others = load(config.against)
        if list(others) != list(results):
            raise ValueError(f"--against: seeds must be the same (got {list(others)}, expected {list(results)})")
        ours, theirs = (over_seeds(r, "trained rule", "a2c_normalised") for r in (results, others))
        gap = paired_difference(ours, theirs, mean)
        text += f"\n\nTrained rule against the other configuration's ({theirs.mean():.3f}): {gap} (paired by seed)."
        data["against"] = {"commands": other_about["commands"], "difference": _plain(gap), "per_seed": theirs.tolist()}
    commands = "\n".join(about["commands"] + (data["against"]["commands"] if config.against else []))
    return f"{text}\n\n```\n{commands}\n{command_line()}\n```\n", data


def _plain(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def main() -> None:
    """Print the summary, and perhaps write it."""
    config = tyro.cli(SeedsConfig, args=sys.argv[1:], prog="python -m experiments.seeds")
    text, data = summary(config)
    print(text)
    if config.out:
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "summary.md", f"# {folder.name}\n\n{text}")
        write_json(folder / "summary.json", data)


if __name__ == "__main__":
    report_errors(main)
