"""Selection of a program by the funnel, and the meta-test against tuned optimizers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optax

from experiments.cli.tasks import TABLE, TUNING, make_task
from experiments.search.build import CONSTANTS, EVOLUTION, RANDOM, evaluator, validator
from experiments.search.config import StudyConfig
from lopt import lion
from lopt.evaluation import OptimizerResult, OptimizerTester
from lopt.optimizers import FromOptax
from lopt.search import Program, canonical_hash, from_program, prune_loop, shrink
from lopt.search.evolution import Individual, SearchState, Stage, funnel
from lopt.search.population import Evaluator

SELECTION_SEED = 100
"""First of the seeds on which the funnel evaluates programs on the proxy."""
TEST_SEED = 10_000
"""First of the seeds on which the selected programs are evaluated on the proxy; they are used for no choice."""
NUM_TEST_SEEDS = 32
"""Number of these seeds."""
ADAMW, BEST, CHOSEN, UNTUNED, SIMPLIFIED = "AdamW", "best on the proxy", "chosen", "chosen, untuned", "simplified"
"""Optimizers of the meta-test, besides Lion."""
BEST_CONSTANTS, BEST_RANDOM = "best of constant search", "best of random search"
"""The baselines' best programs, which are compared on the proxy only."""
MAX_FINALISTS, MAX_PROMOTED = 64, 12
"""Maximum number of programs that enter the funnel, and that it promotes to the meta-validation task."""


@dataclass(frozen=True)
class Selection:
    """Result of the searches and of the funnel.

    Attributes:
        best: individual with the highest fitness in evolution.
        chosen: individual with the highest fitness on the meta-validation task, of those that beat the best program of
            constant search on the proxy with the funnel's seeds.
        simplified: the chosen program after simplification.
        stages: fitness by index in `finalists`, on the proxy with the funnel's seeds and on the meta-validation task.
        finalists: individuals that entered the funnel, by decreasing fitness.
        baseline: best individual of constant search (AdamW with searched constants).
        baseline_fitness: its fitness in both stages.
        test_scores: scores on the proxy `[NUM_TEST_SEEDS]` of the best, the chosen and the simplified program and of
            the baselines' best programs, by name.
    """

    best: Individual
    chosen: Individual
    simplified: Program
    stages: list[dict[int, float]]
    finalists: list[Individual]
    baseline: Individual
    baseline_fitness: list[float]
    test_scores: dict[str, np.ndarray]


def select(config: StudyConfig, searches: dict[str, SearchState]) -> Selection:
    """Funnel selection among evolution's records and the fittest individuals of its last population."""
    search, baseline = searches[EVOLUTION], searches[CONSTANTS].best
    ranked = sorted(search.population, key=lambda one: -one.fitness)
    distinct = {canonical_hash(one.program): one for one in reversed([*reversed(search.records), *ranked])}
    finalists = sorted(distinct.values(), key=lambda one: -one.fitness)[:MAX_FINALISTS]
    search_evaluator = evaluator(config)
    selection_evaluator, test_evaluator = (
        replace(search_evaluator, seeds=tuple(range(first, first + number)), rungs=())
        for first, number in ((SELECTION_SEED, 4 * config.proxy.learners), (TEST_SEED, NUM_TEST_SEEDS))
    )
    validation_evaluator, adamw = validator(config, lanes=16), prune_loop(baseline.program)
    stages = [
        Stage(lambda programs: selection_evaluator(programs).fitness, adamw, MAX_PROMOTED),
        Stage(lambda programs: validation_evaluator(programs).fitness, adamw),
    ]
    results = funnel([prune_loop(one.program) for one in finalists], stages)
    baseline_fitness = [float(stage.fitness([adamw])[0]) for stage in stages]
    last = next((result for result in reversed(results) if result), {0: 0.0})
    chosen = finalists[next(iter(last))]
    simplified = shorten(chosen.program, search_evaluator, config.eval.tolerance)
    programs = {BEST: search.best.program, CHOSEN: chosen.program, SIMPLIFIED: simplified}
    programs |= {BEST_RANDOM: searches[RANDOM].best.program, BEST_CONSTANTS: baseline.program}
    scores = test_evaluator([prune_loop(program) for program in programs.values()]).scores
    return Selection(
        search.best,
        chosen,
        simplified,
        results,
        finalists,
        baseline,
        baseline_fitness,
        dict(zip(programs, scores, strict=True)),
    )


def shorten(program: Program, evaluate: Evaluator, tolerance: float) -> Program:
    """The program simplified by `shrink`; it loses at most the fraction `tolerance` of its fitness on the proxy."""

    def fitness(candidate: Program) -> float:
        return float(evaluate([candidate]).fitness[0])

    return shrink(program, fitness, tolerance * abs(fitness(prune_loop(program))))


def compare(config: StudyConfig, selection: Selection, name: str) -> dict[str, OptimizerResult]:
    """The meta-test on the task `name`: each optimizer tuned over equally many settings, and the chosen one untuned.

    A program that equals the chosen one is measured once, as the chosen one.
    """
    sizes = config.eval
    tester = OptimizerTester(task=make_task(name), num_updates=sizes.num_updates, batch_size=sizes.tuning_seeds)
    results = {}
    candidates = contenders(selection, sizes.num_updates, sizes.trials)
    for optimizer, program in ((BEST, selection.best.program), (SIMPLIFIED, selection.simplified)):
        if canonical_hash(program) == canonical_hash(selection.chosen.program):
            del candidates[optimizer]
    for optimizer, (make, trials) in candidates.items():
        test = tester.losses(FromOptax(make))
        tuning_losses = [test(trial, TUNING, sizes.tuning_seeds)[0].mean() for trial in trials]
        best = trials[int(np.argmin(tuning_losses))]
        losses, curves = test(best, TABLE, sizes.seeds)
        results[optimizer] = OptimizerResult(losses, np.nanmean(curves, 0), float(best[0]))
        if optimizer == CHOSEN:
            losses, curves = test(np.array([1.0, 0.0], np.float32), TABLE, sizes.seeds)
            results[UNTUNED] = OptimizerResult(losses, np.nanmean(curves, 0), None)
    return results


def contenders(
    selection: Selection, steps: int, num_trials: int
) -> dict[str, tuple[Callable[[Any], optax.GradientTransformation], np.ndarray]]:
    """Optimizers by name, each a function of a trial's setting `[2]` with its settings `[num_trials, 2]`.

    All use the same cosine schedule. A setting of AdamW and Lion is a learning rate and a weight decay; a setting of a
    program is a factor on its update and an unused zero, and its constants are not tuned.
    """
    schedule = optax.cosine_decay_schedule(1.0, steps)
    rates = np.geomspace(1e-4, 1e-1, num_trials // 2)
    grid = np.array([(rate, decay) for rate in rates for decay in (0.0, 0.1)], np.float32)
    factors = np.geomspace(1 / 30, 30, num_trials)
    scales = np.stack([factors, np.zeros(num_trials)], 1).astype(np.float32)

    def scaled(program: Program) -> Callable[[Any], optax.GradientTransformation]:
        return lambda trial: optax.chain(from_program(program, schedule), optax.scale(trial[0]))

    return {
        ADAMW: (lambda trial: optax.adamw(lambda i: trial[0] * schedule(i), weight_decay=trial[1]), grid),
        "Lion": (lambda trial: lion(lambda i: trial[0] * schedule(i), weight_decay=trial[1]), grid),
        BEST: (scaled(selection.best.program), scales),
        CHOSEN: (scaled(selection.chosen.program), scales),
        SIMPLIFIED: (scaled(selection.simplified), scales),
    }
