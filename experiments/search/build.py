"""Construction of the proxy, the evaluators and the searches from a configuration."""

import numpy as np

from experiments.cli.tasks import TASKS
from experiments.search.config import StudyConfig
from lopt.search import (
    Mutation,
    Program,
    canonical_hash,
    fingerprint,
    mutate_constant,
    parse,
    published,
    random_program,
)
from lopt.search.evolution import FitnessCache, Proposer, RandomSearch, Search, Tournament
from lopt.search.population import Evaluator, Proxy, Rung
from lopt.training import jit_repeated

EVOLUTION, CONSTANTS, RANDOM = "evolution", "constant search", "random search"
"""Names of the searches in metrics and reports."""
VALIDATION_SEEDS = (1000, 1001)
"""Seeds of the learners of meta-validation."""


def evaluator(config: StudyConfig) -> Evaluator:
    """The evaluator of candidates on the proxy task."""
    sizes = config.proxy
    rungs = (Rung(round(sizes.rung * sizes.steps), sizes.keep),) if sizes.keep < 1 else ()
    seeds = tuple(range(sizes.learners))
    return Evaluator(Proxy.of_task(TASKS[sizes.task](), sizes.steps), seeds=seeds, rungs=rungs, compile=jit_repeated)


def validator(config: StudyConfig, lanes: int = 4) -> Evaluator:
    """The evaluator of programs on the meta-validation task, with two seeds."""
    task = Proxy.of_task(TASKS[config.eval.validation](), config.eval.validation_steps)
    return Evaluator(task, seeds=VALIDATION_SEEDS, lanes=lanes, compile=jit_repeated)


def searches(config: StudyConfig) -> dict[str, Search]:
    """Evolution and its baselines by name, with AdamW as the initial program of each."""
    sizes = config.search
    proposers: dict[str, Proposer] = {
        EVOLUTION: Tournament(Mutation(longest=sizes.longest), sizes.tournament),
        CONSTANTS: Tournament(mutate_constant, sizes.tournament),
        RANDOM: RandomSearch(draw=draw_program),
    }
    return {
        name: Search(
            proposer,
            parse(published.ADAMW),
            FitnessCache(canonical_hash, fingerprint),
            size=sizes.population,
            batch=sizes.batch,
            plateau=sizes.plateau if name == EVOLUTION else None,
        )
        for name, proposer in proposers.items()
    }


def draw_program(rng: np.random.Generator, length: int) -> Program:
    """A random program with AdamW's extra variables."""
    return random_program(rng, length)
