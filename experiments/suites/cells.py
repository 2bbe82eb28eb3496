"""The cells of an evaluation, rule x task: computed one by one, written atomically, and read again on resume."""

import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.suites.candidates import Candidate
from experiments.suites.suite import Suite
from lopt.evaluation import json_data
from lopt.training import RunFolder, StopRequest, status, write_json


@dataclass(frozen=True)
class Cell:
    """What one rule reached on one task.

    Attributes:
        scores: `[seeds, levels]`.
        seconds: wall time, with compilation.
        tuned: settings that were chosen for the rule on the task.
    """

    scores: np.ndarray
    seconds: float
    tuned: Mapping[str, Any] = field(default_factory=dict)


Cells = dict[str, dict[str, Cell]]
"""By rule and by task."""


def run_cells(
    suite: Suite, rows: Mapping[str, Candidate], folder: RunFolder, max_minutes: float | None, progress: bool
) -> tuple[Cells, str | None]:
    """Compute every cell that the folder does not hold yet; also returns why it stopped early, None if it did not.

    A cell that was computed with another rule file of that name is computed again. Under a time limit one cell at least
    is computed.

    Raises:
        FloatingPointError: scores that are not finite.
    """
    cells: Cells = {name: {} for name in rows}
    computed = 0
    pairs = [(candidate, task) for task in suite.tasks for candidate in rows.values()]
    with StopRequest(max_minutes) as stop:
        for number, (candidate, task) in enumerate(pairs, 1):
            path = folder.file(cell_file(candidate.name, task))
            cell = _read(path, candidate)
            if cell is None:
                if stop.signalled or (computed and stop.requested):
                    return cells, stop.reason
                with status(f"{number} of {len(pairs)}: {candidate.name} on {task}", progress):
                    cell = _compute(suite, candidate, task)
                record = {"rule": candidate.name, "task": task, "checksum": candidate.checksum}
                write_json(path, json_data(record | vars(cell)))
                computed += 1
            cells[candidate.name][task] = cell
    return cells, None


def cell_file(rule: str, task: str) -> str:
    """The name of a cell's file in the run folder, different for different pairs."""
    text = f"{task}/{rule}"
    return f"cells/{re.sub(r'[^A-Za-z0-9._-]+', '_', text)}-{zlib.crc32(text.encode()):08x}.json"


def rows_of(cells: Cells, normalised: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[dict[str, Any]]:
    """The rows of `results.json`: one for each rule, task, level and seed."""
    for rule, by_task in cells.items():
        for task, cell in by_task.items():
            for (seed, level), score in np.ndenumerate(cell.scores):
                scaled = float(normalised[rule][task][seed, level])
                yield {
                    "rule": rule,
                    "task": task,
                    "level": level,
                    "seed": seed,
                    "score": float(score),
                    "normalised": scaled if np.isfinite(scaled) else None,
                }


def _compute(suite: Suite, candidate: Candidate, task: str) -> Cell:
    start = time.perf_counter()
    scores = suite.scores(candidate, task)
    values = np.asarray(scores.values, np.float64)
    if not np.isfinite(values).all():
        raise FloatingPointError(
            f"{candidate.name} on {task}: {int((~np.isfinite(values)).sum())} of {values.size} scores are not finite"
        )
    return Cell(values, round(time.perf_counter() - start, 2), scores.tuned)


def _read(path: Path, candidate: Candidate) -> Cell | None:
    """The cell of a file; None where there is none, it is damaged, or it belongs to another rule file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["checksum"] != candidate.checksum:
            return None
        return Cell(np.asarray(record["scores"], np.float64), record["seconds"], record["tuned"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
