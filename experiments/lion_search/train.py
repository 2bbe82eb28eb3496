"""The search, and what becomes of what it finds."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.host_loop import run_on_host
from experiments.common.progress import status
from experiments.common.unfinished import leave
from experiments.lion_search import measure
from experiments.lion_search.build import CONSTANTS, EVOLUTION, evaluator, searches, validator
from experiments.lion_search.config import StudyConfig
from experiments.lion_search.report import searched, title, write
from lopt.export import save_program
from lopt.search import prune_loop
from lopt.search.evolution import Search

CYCLES = 6
"""Cycles in which a search may fill its budget of a step; where nearly all is known, it stays below."""


def main(config: StudyConfig) -> None:
    """Search, choose, and compare with tuned optimizers on other tasks."""
    folder = open_folder(config, command_line())
    race = Race(config)
    headline = (f"{EVOLUTION}/best", f"{CONSTANTS}/best", f"{EVOLUTION}/known_now", "time/programs_per_second")
    outcome = run_on_host(config.run, folder, race, race.step, config.search.steps, headline)
    if outcome.stopped:
        leave(config, folder, outcome, title(config), partial(searched, folder, race.searches), race.export(folder))
        return
    with status("choosing among the best", config.run.progress):
        found = measure.choose(config, race.searches)
    results = {}
    for name in dict.fromkeys((config.proxy.task, *config.eval.tasks)):
        with status(f"measuring on {name}, and tuning all on it", config.run.progress):
            results[name] = measure.compare(config, found, name)
    write(config, folder, race.searches, found, results)
    print(f"report: {folder.path / 'report.md'}")


class Race:
    """The search and its baselines in step, and the best of each seen on the larger task now and then.

    Attributes:
        searches: by name.
        seen: what programs were worth on the larger task, by their texts.
    """

    def __init__(self, config: StudyConfig):
        self.config = config
        self.searches: dict[str, Search] = searches(config)
        self.evaluate, self.validate = evaluator(config), validator(config)
        self.seen: dict[str, float] = {}

    def step(self, i: int) -> dict[str, float]:
        """One step of every search; metrics are by the search's name."""
        metrics: dict[str, float] = {}
        start, before = time.perf_counter(), self._tried()
        sizes = self.config.search
        for name, search in self.searches.items():
            batches = 1 if name == EVOLUTION else sizes.multiple
            for _ in range(CYCLES * batches):
                if search.tried >= (i + 1) * batches * sizes.batch:
                    break
                told = search.cycle(lambda programs: self.evaluate(programs).fitness)
            metrics |= {f"{name}/{what}": value for what, value in told.items()}
        seconds = time.perf_counter() - start
        metrics["time/programs_per_second"] = (self._tried() - before) / seconds
        if i == 0 or (i + 1) % self.config.eval.every == 0:
            metrics |= self._validated()
        return metrics

    def _tried(self) -> int:
        return sum(search.tried for search in self.searches.values())

    def _validated(self) -> dict[str, float]:
        best = {name: search.best for name, search in self.searches.items()}
        texts = {name: prune_loop(one.program).text() for name, one in best.items()}
        new = {text: prune_loop(best[name].program) for name, text in texts.items() if text not in self.seen}
        if new:
            values = self.validate(list(new.values())).fitness
            self.seen |= {text: float(value) for text, value in zip(new, values, strict=True)}
        return {f"{name}/validation": self.seen[text] for name, text in texts.items()}

    def export(self, folder: RunFolder) -> Callable[[str], Path] | None:
        """Writes evolution's best program so far as the rule, with a note; None where nothing was evaluated yet."""
        search = self.searches[EVOLUTION]
        if not search.records:
            return None
        best, about = prune_loop(search.best.program), {"command": folder.command, "seed": self.config.run.seed}
        return lambda note: save_program(folder.file("rule"), best, notes=f"best on the proxy; {note}", **about)

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON data."""
        return {
            "searches": {name: search.plain() for name, search in self.searches.items()},
            "seen": {text: value if value > -float("inf") else None for text, value in self.seen.items()},
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Go on from what `plain` gave."""
        for name, search in self.searches.items():
            search.restore(data["searches"][name])
        self.seen = {text: -float("inf") if x is None else float(x) for text, x in data["seen"].items()}
