"""The run of a distillation: searches, selection of the formula, and report."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cli.study import StudyRun, run_study
from experiments.search.distil.build import Target, load_target, searches
from experiments.search.distil.choose import choose
from experiments.search.distil.config import DistilConfig
from experiments.search.distil.report import search_curves, title, write
from lopt.evaluation import join_notes
from lopt.search import prune_loop
from lopt.search.evolution import Individual
from lopt.training import Outcome, RunFolder, run_on_host, status


def main(config: DistilConfig) -> Outcome:
    """Search, choose the formula, and write it with a report."""
    target = load_target(config)
    restarts = Restarts(config, target)
    headline = ("best", "cost", "statements", "time/programs_per_second")

    def train(folder: RunFolder) -> Outcome:
        return run_on_host(config.run, folder, restarts, restarts.step, config.search.steps, headline)

    def report(folder: RunFolder, outcome: Outcome) -> None:
        with status("pattern search and selection", config.run.progress):
            choice = choose(config, target, restarts.states)
        write(config, folder, target, restarts.states, choice)

    return run_study(
        StudyRun(
            config=config,
            title=title(target),
            train=train,
            curves=lambda folder: search_curves(restarts.states, folder),
            report=report,
            export=restarts.export,
        )
    )


class Restarts:
    """Independent searches, which differ in their seeds, run side by side.

    Attributes:
        searches: the searches.
        states: their states.
        fitness: fitness with the cost of statements, which the searches maximise.
        fitness_without_parsimony: minus error and violation.
    """

    def __init__(self, config: DistilConfig, target: Target):
        self.config, self.target, self.searches = config, target, searches(config, target)
        self.states = [search.init([config.run.seed, i]) for i, search in enumerate(self.searches)]
        self.fitness, self.fitness_without_parsimony = target.fitness(config.search.parsimony), target.fitness(0.0)

    def step(self, i: int) -> dict[str, float]:
        """Make one step of each search; returns metrics of each, by its number, and of the best program."""
        metrics: dict[str, float] = {}
        start, before = time.perf_counter(), sum(state.evaluated for state in self.states)
        for number, search in enumerate(self.searches):
            self.states[number], search_metrics = search.step(
                self.states[number], lambda programs: np.array([self.fitness(program) for program in programs])
            )
            logged = ("best", "evaluated", "frac_cached", "redundant")
            metrics |= {f"{number}/{metric}": search_metrics[metric] for metric in logged}
        seconds = time.perf_counter() - start
        best = self.best
        return metrics | {
            "best": best.fitness,
            "cost": -self.fitness_without_parsimony(best.program),
            "statements": len(prune_loop(best.program).statements),
            "time/programs_per_second": (sum(state.evaluated for state in self.states) - before) / seconds,
        }

    @property
    def best(self) -> Individual:
        """The individual with the highest fitness in all searches."""
        return max((state.best for state in self.states), key=lambda one: one.fitness)

    def export(self, folder: RunFolder, outcome: Outcome) -> Path | None:
        """Save the best program as a rule file; None before the first step."""
        if outcome.step == 0:
            return None
        notes = join_notes("best of the searches", outcome.note if outcome.stopped else None)
        path, program, seed = folder.file("rule"), prune_loop(self.best.program), self.config.run.seed
        self.target.save(path, program, command=folder.command, seed=seed, notes=notes)
        return path

    def state_dict(self) -> dict[str, Any]:
        """The searches' states as JSON data."""
        return {"searches": [state.to_json() for state in self.states]}

    def load_state_dict(self, data: dict[str, Any]) -> None:
        """Restore the state from the data of `state_dict`."""
        pairs = zip(self.searches, data["searches"], strict=True)
        self.states = [search.from_json(state) for search, state in pairs]
