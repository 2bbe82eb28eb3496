"""The searches side by side, and what becomes of what they find."""

import time
from functools import partial
from typing import Any

import numpy as np

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.host_loop import run_on_host
from experiments.common.progress import status
from experiments.common.unfinished import leave
from experiments.distil.build import Subject, searches, subject
from experiments.distil.choose import choose
from experiments.distil.config import DistilConfig
from experiments.distil.report import searched, title, write
from lopt.search import prune_loop
from lopt.search.evolution import Individual


def main(config: DistilConfig) -> None:
    """Search, choose, and write the formula down."""
    rule = subject(config)
    folder = open_folder(config, command_line())
    restarts = Restarts(config, rule)
    headline = ("best", "cost", "statements", "time/programs_per_second")
    outcome = run_on_host(config.run, folder, restarts, restarts.step, config.search.steps, headline)
    if outcome.stopped:
        begun = outcome.step > 0
        leave(
            config,
            folder,
            outcome,
            title(rule),
            lambda: searched(restarts.searches, folder) if begun else "",
            partial(restarts.export, folder) if begun else None,
        )
        return
    with status("polishing and choosing", config.run.progress):
        choice = choose(config, rule, restarts.searches)
    write(config, folder, rule, restarts.searches, choice)
    print(f"report: {folder.path / 'report.md'}")


class Restarts:
    """Searches that differ in their seed, in step.

    Attributes:
        searches: one for every restart.
    """

    def __init__(self, config: DistilConfig, subject: Subject):
        self.config, self.subject, self.searches = config, subject, searches(config, subject)
        self.goal, self.plainly = subject.goal(config.search.parsimony), subject.goal(0.0)

    def step(self, i: int) -> dict[str, float]:
        """One cycle of every search."""
        metrics: dict[str, float] = {}
        start, before = time.perf_counter(), sum(search.tried for search in self.searches)
        for number, search in enumerate(self.searches):
            told = search.cycle(lambda programs: np.array([self.goal(program) for program in programs]))
            metrics |= {f"{number}/{what}": told[what] for what in ("best", "tried", "known_now", "redundant")}
        seconds = time.perf_counter() - start
        best = self.best
        return metrics | {
            "best": best.fitness,
            "cost": -self.plainly(best.program),
            "statements": len(prune_loop(best.program).statements),
            "time/programs_per_second": (sum(search.tried for search in self.searches) - before) / seconds,
        }

    @property
    def best(self) -> Individual:
        """The best of all searches so far."""
        return max((search.best for search in self.searches), key=lambda one: one.fitness)

    def export(self, folder: RunFolder, note: str) -> None:
        """Write the best program so far as a rule file, with a note."""
        program, notes = prune_loop(self.best.program), f"best of the searches; {note}"
        self.subject.save(folder.file("rule"), program, command=folder.command, seed=self.config.run.seed, notes=notes)

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON data."""
        return {"searches": [search.plain() for search in self.searches]}

    def restore(self, data: dict[str, Any]) -> None:
        """Go on from what `plain` gave."""
        for search, told in zip(self.searches, data["searches"], strict=True):
            search.restore(told)
