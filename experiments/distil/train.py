"""The searches side by side, and what becomes of what they find."""

import time
from typing import Any

import numpy as np

from experiments.common.cli import command_line, resume_command
from experiments.common.folder import open_folder
from experiments.common.host_loop import run_on_host
from experiments.distil.build import Subject, searches, subject
from experiments.distil.choose import choose
from experiments.distil.config import DistilConfig
from experiments.distil.report import write
from lopt.search import prune_loop


def main(config: DistilConfig) -> None:
    """Search, choose, and write the formula down."""
    rule = subject(config)
    folder = open_folder(config, command_line())
    restarts = Restarts(config, rule)
    headline = ("best", "cost", "statements", "time/programs_per_second")
    outcome = run_on_host(config.run, folder, restarts, restarts.step, config.search.steps, headline)
    if outcome.stopped:
        print(f"stopped after step {outcome.step} ({outcome.reason}); to go on:\n  {resume_command()}")
        return
    print("polishing and choosing ...", flush=True)
    write(config, folder, rule, restarts.searches, choose(config, rule, restarts.searches))
    print(f"report: {folder.path / 'report.md'}")


class Restarts:
    """Searches that differ in their seed, in step.

    Attributes:
        searches: one for every restart.
    """

    def __init__(self, config: DistilConfig, subject: Subject):
        self.config, self.searches = config, searches(config, subject)
        self.goal, self.plainly = subject.goal(config.search.parsimony), subject.goal(0.0)

    def step(self, i: int) -> dict[str, float]:
        """One cycle of every search."""
        metrics: dict[str, float] = {}
        start, before = time.perf_counter(), sum(search.tried for search in self.searches)
        for number, search in enumerate(self.searches):
            told = search.cycle(lambda programs: np.array([self.goal(program) for program in programs]))
            metrics |= {f"{number}/{what}": told[what] for what in ("best", "tried", "known_now", "redundant")}
        seconds = time.perf_counter() - start
        best = max((search.best for search in self.searches), key=lambda one: one.fitness)
        return metrics | {
            "best": best.fitness,
            "cost": -self.plainly(best.program),
            "statements": len(prune_loop(best.program).statements),
            "time/programs_per_second": (sum(search.tried for search in self.searches) - before) / seconds,
        }

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON data."""
        return {"searches": [search.plain() for search in self.searches]}

    def restore(self, data: dict[str, Any]) -> None:
        """Go on from what `plain` gave."""
        for search, told in zip(self.searches, data["searches"], strict=True):
            search.restore(told)
