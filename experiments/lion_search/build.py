"""From a configuration to the objects it stands for."""

import jax
import numpy as np

from experiments.common.compiling import often
from experiments.learned_optimizer.names import TASKS
from experiments.lion_search.config import StudyConfig
from lopt.protocols import Task
from lopt.search import Mutation, Program, canonical_hash, fingerprint, parse, published, random_program, tune
from lopt.search.evolution import Chance, Memory, Search, Tournament
from lopt.search.population import Evaluator, Proxy, Rung
from lopt.types import Params

EVOLUTION, CONSTANTS, RANDOM = "evolution", "constants of AdamW", "random programs"
HELD_OUT_BATCHES = 8
"""Held-out batches that score a learner; always the same ones."""


def proxy(task: Task, steps: int) -> Proxy:
    """A task as a proxy: the score is minus the loss on held-out batches that are always the same.

    Raises:
        ValueError: a task that varies from level to level.
    """
    variation = task.sample(jax.random.key(0))
    if jax.tree.leaves(variation):
        raise ValueError(f"proxy: expected a task without variations (got {type(task).__name__})")

    def score(params: Params) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), HELD_OUT_BATCHES)
        batches = jax.vmap(lambda key: task.batch(key, variation, held_out=True))(keys)
        return -jax.vmap(lambda batch: task.loss(variation, params, batch)[0])(batches).mean()

    return Proxy(
        init=lambda key: task.init(key, variation),
        batch=lambda key: task.batch(key, variation, held_out=False),
        loss=lambda params, batch: task.loss(variation, params, batch)[0],
        score=score,
        steps=steps,
    )


def evaluator(config: StudyConfig) -> Evaluator:
    """What gives candidates their fitness."""
    sizes = config.proxy
    rungs = (Rung(round(sizes.rung * sizes.steps), sizes.keep),) if sizes.keep < 1 else ()
    seeds = tuple(range(sizes.learners))
    return Evaluator(proxy(TASKS[sizes.task](), sizes.steps), seeds=seeds, rungs=rungs, compile=often)


def validator(config: StudyConfig, lanes: int = 4) -> Evaluator:
    """The larger task, for few programs at a time, each with two newborns."""
    task = proxy(TASKS[config.eval.validation](), config.eval.validation_steps)
    return Evaluator(task, seeds=(1000, 1001), lanes=lanes, compile=often)


def searches(config: StudyConfig) -> dict[str, Search]:
    """The search and its baselines, all from AdamW."""
    sizes = config.search
    proposers = {
        EVOLUTION: Tournament(Mutation(longest=sizes.longest), sizes.tournament),
        CONSTANTS: Tournament(tune, sizes.tournament),
        RANDOM: Chance(draw),
    }
    return {
        name: Search(
            proposer,
            parse(published.ADAMW),
            Memory(canonical_hash, fingerprint),
            np.random.default_rng([config.run.seed, i]),
            sizes.population,
            sizes.batch,
            plateau=sizes.plateau if name == EVOLUTION else None,
        )
        for i, (name, proposer) in enumerate(proposers.items())
    }


def draw(rng: np.random.Generator, length: int) -> Program:
    """A random program with AdamW's extra variables."""
    return random_program(rng, length)
