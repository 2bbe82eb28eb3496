"""Construction of the distillation target and of the searches from a configuration."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optax

from experiments.search.distil.config import DistilConfig
from experiments.search.distil.drifts import DriftTarget
from experiments.search.distil.optimizers import OptimizerTarget
from lopt.export import load, load_rule, rebuild
from lopt.objectives import Drift
from lopt.search import Mutation, Program, canonical_hash, mutate_constant, pattern_search, prune_loop
from lopt.search.evolution import FitnessCache, Search, Tournament

Target = DriftTarget | OptimizerTarget
"""The learned rule that is distilled."""
SWEEPS = 3
"""Maximum number of sweeps of a pattern search that is used as a mutation."""


def load_target(config: DistilConfig) -> Target:
    """The distillation target: the drift or optimizer in the rule file `config.rule`.

    Raises:
        ValueError: a file that is missing or damaged, or holds neither a drift nor an optimizer.
    """
    rule, loaded = load_rule(config.rule), load(config.rule)
    if isinstance(loaded, optax.GradientTransformation):
        return OptimizerTarget(loaded, config)
    drift = rebuild(rule.card) if callable(loaded) else None
    if not isinstance(drift, Drift):
        raise ValueError(
            f"rule: {config.rule} is a rule of another kind (got {rule.card.kind}, expected a drift or an optimizer)"
        )
    return DriftTarget(drift, rule.theta, config)


@dataclass(frozen=True)
class MixedMutation:
    """A mutation of the structure, of one constant, or of all constants by pattern search.

    Attributes:
        mutation: mutation of the structure.
        fitness: fitness that the pattern search improves.
        constant_mutation: probability of rescaling one constant by 2^a, a ~ N(0, s^2), with s log-uniform in [0.01, 1].
        pattern_search: probability of a pattern search.
        stop: success probability of the geometric number of structural mutations in the other cases.
    """

    mutation: Mutation
    fitness: Callable[[Program], float]
    constant_mutation: float
    pattern_search: float
    stop: float = 0.5

    def __call__(self, rng: np.random.Generator, program: Program) -> Program:
        """A mutated copy of a valid program, which is valid too."""
        draw = rng.random()
        if draw < self.pattern_search:
            return pattern_search(program, self.fitness, SWEEPS)
        if draw < self.pattern_search + self.constant_mutation and program.constants:
            return mutate_constant(rng, program, 10 ** rng.uniform(-2, 0))
        for _ in range(rng.geometric(self.stop)):
            program = self.mutation(rng, program)
        return program


def searches(config: DistilConfig, target: Target) -> list[Search]:
    """The independent searches, which differ in their seeds."""
    sizes = config.search
    mutation = MixedMutation(
        target.mutation(sizes.longest), target.fitness(sizes.parsimony), sizes.constant_mutation, sizes.pattern_search
    )
    return [
        Search(
            Tournament(mutation, sizes.tournament),
            target.initial,
            FitnessCache(canonical_hash, lambda program: behaviour(target, program)),
            size=sizes.population,
            batch=sizes.batch,
            plateau=sizes.plateau,
        )
        for _ in range(sizes.restarts)
    ]


def behaviour(target: Target, program: Program) -> str:
    """Behavioural hash for the fitness cache: of a program's values and of its number of live statements."""
    length = len(prune_loop(program).statements)
    return hashlib.blake2b(target.behaviour(program) + b"%d" % length, digest_size=12).hexdigest()
