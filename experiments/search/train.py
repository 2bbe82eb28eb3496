"""The run of a study: search, selection, meta-test and report."""

import time
from pathlib import Path
from typing import Any

from experiments.cli.study import StudyRun, run_study
from experiments.search import measure
from experiments.search.build import CONSTANTS, EVOLUTION, evaluator, searches, validator
from experiments.search.config import StudyConfig
from experiments.search.report import search_curves, title, write
from lopt.evaluation import join_notes
from lopt.rules import save_program
from lopt.search import prune_loop
from lopt.search.evolution import Search
from lopt.training import Outcome, RunFolder, run_on_host, status

MAX_SEARCH_STEPS = 6
"""Maximum number of search steps that fill a batch of the budget; with few uncached proposals, the batch stays
incomplete."""


def main(config: StudyConfig) -> Outcome:
    """Search, choose a program, and compare it with tuned optimizers on the tasks of the meta-test."""
    comparison = SearchComparison(config)
    headline = (f"{EVOLUTION}/best", f"{CONSTANTS}/best", f"{EVOLUTION}/frac_cached", "time/programs_per_second")

    def train(folder: RunFolder) -> Outcome:
        return run_on_host(config.run, folder, comparison, comparison.step, config.search.steps, headline)

    def report(folder: RunFolder, outcome: Outcome) -> None:
        with status("funnel selection", config.run.progress):
            selection = measure.select(config, comparison.states)
        results = {}
        for name in dict.fromkeys((config.proxy.task, *config.eval.tasks)):
            with status(f"meta-test on {name}", config.run.progress):
                results[name] = measure.compare(config, selection, name)
        write(config, folder, comparison.states, selection, results)

    return run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=train,
            curves=lambda folder: search_curves(folder, comparison.states),
            report=report,
            export=comparison.export,
        )
    )


class SearchComparison:
    """Evolution and its baselines, run side by side, with meta-validation of the best program of each.

    Attributes:
        searches: the searches by name.
        states: their states.
        evaluate: evaluator on the proxy task.
        validate: evaluator on the meta-validation task.
        validation: fitness on the meta-validation task, by the live program's text.
    """

    def __init__(self, config: StudyConfig):
        self.config = config
        self.searches: dict[str, Search] = searches(config)
        self.states = {name: one.init([config.run.seed, i]) for i, (name, one) in enumerate(self.searches.items())}
        self.evaluate, self.validate = evaluator(config), validator(config)
        self.validation: dict[str, float] = {}

    def step(self, i: int) -> dict[str, float]:
        """Make step `i` of each search; the names of the metrics begin with the search's name."""
        metrics: dict[str, float] = {}
        start, before = time.perf_counter(), self._num_evaluated()
        sizes = self.config.search
        for name, search in self.searches.items():
            batches = 1 if name == EVOLUTION else sizes.multiple
            for _ in range(MAX_SEARCH_STEPS * batches):
                if self.states[name].evaluated >= (i + 1) * batches * sizes.batch:
                    break
                self.states[name], search_metrics = search.step(
                    self.states[name], lambda programs: self.evaluate(programs).fitness
                )
            metrics |= {f"{name}/{metric}": value for metric, value in search_metrics.items()}
        seconds = time.perf_counter() - start
        metrics["time/programs_per_second"] = (self._num_evaluated() - before) / seconds
        if i == 0 or (i + 1) % self.config.eval.every == 0:
            metrics |= self._validation_metrics()
        return metrics

    def _num_evaluated(self) -> int:
        return sum(state.evaluated for state in self.states.values())

    def _validation_metrics(self) -> dict[str, float]:
        best = {name: state.best for name, state in self.states.items()}
        texts = {name: prune_loop(one.program).text() for name, one in best.items()}
        new = {text: prune_loop(best[name].program) for name, text in texts.items() if text not in self.validation}
        if new:
            values = self.validate(list(new.values())).fitness
            self.validation |= {text: float(value) for text, value in zip(new, values, strict=True)}
        return {f"{name}/validation": self.validation[text] for name, text in texts.items()}

    def export(self, folder: RunFolder, outcome: Outcome) -> Path | None:
        """Save evolution's best program as the rule; None before the first step."""
        state = self.states[EVOLUTION]
        if not state.records:
            return None
        notes = join_notes("best on the proxy", outcome.note if outcome.stopped else None)
        best, seed = prune_loop(state.best.program), self.config.run.seed
        return save_program(folder.file("rule"), best, command=folder.command, seed=seed, notes=notes)

    def state_dict(self) -> dict[str, Any]:
        """The searches' states and the validation fitness, as JSON data."""
        fitness = {text: value if value > -float("inf") else None for text, value in self.validation.items()}
        return {
            "searches": {name: state.to_json() for name, state in self.states.items()},
            "validation": fitness,
        }

    def load_state_dict(self, data: dict[str, Any]) -> None:
        """Restore the state from the data of `state_dict`."""
        self.states = {name: search.from_json(data["searches"][name]) for name, search in self.searches.items()}
        self.validation = {text: -float("inf") if x is None else float(x) for text, x in data["validation"].items()}
