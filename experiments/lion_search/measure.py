"""What was found, chosen by a funnel and tuned like the optimizers it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optax

from experiments.learned_optimizer.measure import TABLE, TUNING, Gauge, Measured
from experiments.learned_optimizer.names import TASKS
from experiments.lion_search.build import CONSTANTS, EVOLUTION, RANDOM, evaluator, validator
from experiments.lion_search.config import StudyConfig
from lopt import lion
from lopt.optimizers import Designed
from lopt.search import Program, canonical_hash, from_program, prune_loop, shrink
from lopt.search.evolution import Individual, Level, Search, funnel
from lopt.search.population import Evaluator

FRESH = 100
"""The first of the newborns by which the funnel judges anew on the proxy."""
UNSEEN = 10_000
"""The first of the newborns by which nothing is chosen: they only measure on the proxy what was."""
ADAMW, BEST, CHOSEN, AS_FOUND, SIMPLE = "AdamW", "best on the proxy", "chosen", "chosen, untuned", "simplified"
"""Rows of the table."""
SEARCHED, DRAWN = "AdamW, constants searched", "best of random programs"
FINALISTS, PROMOTED = 64, 12
"""Programs that enter the funnel, and those that go on to the larger task at most."""
WITNESSES = 32
"""Newborns that measure what was chosen."""


@dataclass(frozen=True)
class Found:
    """What the search gave.

    Attributes:
        best: best by fitness on the proxy.
        chosen: best on the larger task, of those that beat AdamW with searched constants on the proxy with newborns
            that no search has seen.
        simple: the chosen one without what its fitness does not need.
        stages: fitness by program on the proxy with fresh newborns, and on the larger task.
        programs: who entered the funnel.
        baseline: AdamW with searched constants.
        bars: its fitness on both.
        unseen: of the best, the chosen, the simple one and the baselines, the fitness on the proxy by newborns that
            nothing was chosen by `[newborns]`.
    """

    best: Individual
    chosen: Individual
    simple: Program
    stages: list[dict[int, float]]
    programs: list[Individual]
    baseline: Individual
    bars: list[float]
    unseen: dict[str, np.ndarray]


def choose(config: StudyConfig, searches: dict[str, Search]) -> Found:
    """The records of evolution and the best of its last population, through the funnel."""
    search, baseline = searches[EVOLUTION], searches[CONSTANTS].best
    ranked = sorted(search.population, key=lambda one: -one.fitness)
    distinct = {canonical_hash(one.program): one for one in reversed([*reversed(search.records), *ranked])}
    programs = sorted(distinct.values(), key=lambda one: -one.fitness)[:FINALISTS]
    original = evaluator(config)
    fresh, unseen = (
        replace(original, seeds=tuple(range(first, first + number)), rungs=())
        for first, number in ((FRESH, 4 * config.proxy.learners), (UNSEEN, WITNESSES))
    )
    larger, adamw = validator(config, lanes=16), prune_loop(baseline.program)
    levels = [Level(lambda them: fresh(them).fitness, adamw, PROMOTED), Level(lambda them: larger(them).fitness, adamw)]
    stages = funnel([prune_loop(one.program) for one in programs], levels)
    bars = [float(level.fitness([adamw])[0]) for level in levels]
    last = next((stage for stage in reversed(stages) if stage), {0: 0.0})
    chosen = programs[next(iter(last))]
    simple = shorter(chosen.program, original, config.eval.tolerance)
    them = {BEST: search.best.program, CHOSEN: chosen.program, SIMPLE: simple}
    them |= {DRAWN: searches[RANDOM].best.program, SEARCHED: baseline.program}
    scores = dict(zip(them, unseen([prune_loop(program) for program in them.values()]).scores, strict=True))
    return Found(search.best, chosen, simple, stages, programs, baseline, bars, scores)


def shorter(program: Program, evaluate: Evaluator, tolerance: float) -> Program:
    """The program simplified, at the cost of at most this share of its fitness on the proxy."""

    def fitness(candidate: Program) -> float:
        return float(evaluate([candidate]).fitness[0])

    return shrink(program, fitness, tolerance * abs(fitness(prune_loop(program))))


def compare(config: StudyConfig, found: Found, name: str) -> dict[str, Measured]:
    """Tuned AdamW and Lion, and what was found, tuned by as many trials, on one task; one program is measured once."""
    sizes = config.eval
    gauge = Gauge(TASKS[name](), sizes.lifetime, sizes.tuning_seeds)
    results = {}
    offered = contenders(found, sizes.lifetime, sizes.trials)
    for who, program in ((BEST, found.best.program), (SIMPLE, found.simple)):
        if canonical_hash(program) == canonical_hash(found.chosen.program):
            del offered[who]
    for who, (make, trials) in offered.items():
        live = gauge.lives(Designed(make))
        judged = [live(trial, TUNING, sizes.tuning_seeds)[0].mean() for trial in trials]
        best = trials[int(np.argmin(judged))]
        losses, curves = live(best, TABLE, sizes.seeds)
        results[who] = Measured(losses, np.nanmean(curves, 0), float(best[0]))
        if who == CHOSEN:
            losses, curves = live(np.array([1.0, 0.0], np.float32), TABLE, sizes.seeds)
            results[AS_FOUND] = Measured(losses, np.nanmean(curves, 0), None)
    return results


def contenders(found: Found, steps: int, trials: int) -> dict[str, tuple[Callable[[Any], Any], np.ndarray]]:
    """Optimizers by name: how they are made of a trial, and the trials `[trials, 2]`.

    All follow the same cosine schedule. A trial is a rate and a decay for AdamW and Lion, and a factor on the whole
    update for a program, whose other constants stay.
    """
    wave = optax.cosine_decay_schedule(1.0, steps)
    rates = np.geomspace(1e-4, 1e-1, trials // 2)
    grid = np.array([(rate, decay) for rate in rates for decay in (0.0, 0.1)], np.float32)
    factors = np.geomspace(1 / 30, 30, trials)
    scales = np.stack([factors, np.zeros(trials)], 1).astype(np.float32)

    def program(what: Program) -> Callable[[Any], Any]:
        return lambda trial: optax.chain(from_program(what, wave), optax.scale(trial[0]))

    return {
        ADAMW: (lambda trial: optax.adamw(lambda i: trial[0] * wave(i), weight_decay=trial[1]), grid),
        "Lion": (lambda trial: lion(lambda i: trial[0] * wave(i), weight_decay=trial[1]), grid),
        BEST: (program(found.best.program), scales),
        CHOSEN: (program(found.chosen.program), scales),
        SIMPLE: (program(found.simple), scales),
    }
