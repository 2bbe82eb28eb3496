"""Finished runs as data: read from their folders, checked to be comparable, and summarised in one document."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lopt.training.folder import write_json, write_text
from lopt.training.metrics_log import read_metrics
from lopt.training.run_config import differences


@dataclass(frozen=True)
class FinishedRun:
    """A run with results.

    Attributes:
        folder: of the run.
        config: its configuration without the seed, as JSON data.
        command: that started it.
        results: the content of `results.json`.
    """

    folder: str
    config: dict[str, Any]
    command: str
    results: dict[str, Any]

    @property
    def seed(self) -> Any:
        """Its seed; None if its results hold none."""
        return self.results.get("seed")

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.jsonl`."""
        return read_metrics(Path(self.folder) / "metrics.jsonl")


def read_run(folder: str) -> FinishedRun:
    """Read a finished run.

    Raises:
        ValueError: a folder without one.
    """
    path = Path(folder)
    try:
        record = json.loads((path / "config.json").read_text(encoding="utf-8"))
        results = json.loads((path / "results.json").read_text(encoding="utf-8"))
        config, command = dict(record["config"]), str(record["command"])
        if not isinstance(results, dict):
            raise ValueError("results.json holds no JSON object")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no finished run ({error})") from error
    return FinishedRun(folder, {k: v for k, v in config.items() if k != "seed"}, command, results)


def check_same_configuration(runs: Sequence[FinishedRun]) -> None:
    """Check that runs differ in their seeds alone.

    Raises:
        ValueError: runs of different configurations (the differences are listed), or two of one seed.
    """
    seeds = set()
    for run in runs:
        if run.config != runs[0].config:
            lines = differences(runs[0].config, run.config, where=(f"in {runs[0].folder}", f"in {run.folder}"))
            raise ValueError(
                f"{runs[0].folder} and {run.folder} are runs of different configurations; they differ in\n  "
                + "\n  ".join(lines[:5] + (["..."] if len(lines) > 5 else []))
            )
        if run.seed in seeds:
            raise ValueError(f"{run.folder}: seed {run.seed} is given twice; give runs of different seeds")
        seeds.add(run.seed)


def write_summary(folder: Path, text: str, data: dict[str, Any]) -> None:
    """Write `summary.md` (under the folder's name as title) and `summary.json`; the folder is created."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "summary.md", f"# {folder.name}\n\n{text}")
    write_json(folder / "summary.json", data)
