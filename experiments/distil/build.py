"""From a configuration to the objects it stands for."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optax

from experiments.distil.config import DistilConfig
from experiments.distil.drifts import DriftSubject
from experiments.distil.optimizers import OptimizerSubject
from lopt.export import load, load_rule, rebuild
from lopt.objectives import Drift
from lopt.search import Mutation, Program, canonical_hash, polish, prune_loop, tune
from lopt.search.evolution import Memory, Search, Tournament

Subject = DriftSubject | OptimizerSubject
"""What is distilled."""
SWEEPS = 3
"""Sweeps over the constants of a program during the search."""


def subject(config: DistilConfig) -> Subject:
    """The rule of the file, as something to be distilled.

    Raises:
        ValueError: a file that is missing or damaged, or holds neither a drift nor an optimizer.
    """
    rule, loaded = load_rule(config.rule), load(config.rule)
    if isinstance(loaded, optax.GradientTransformation):
        return OptimizerSubject(loaded, config)
    drift = rebuild(rule.card) if callable(loaded) else None
    if not isinstance(drift, Drift):
        raise ValueError(
            f"rule: {config.rule} is a rule of another kind (got {rule.card.kind}, expected a drift or an optimizer)"
        )
    return DriftSubject(drift, rule.theta, config)


@dataclass(frozen=True)
class Change:
    """A mutation of structure, one constant rescaled by little or much, or all constants moved uphill.

    Attributes:
        mutation: of structure.
        goal: what is uphill.
        tune, polish: the shares of the latter two, where there are constants.
        alone: the share of the others in which the structure changes once; twice in as large a share of the rest, ...
    """

    mutation: Mutation
    goal: Callable[[Program], float]
    tune: float
    polish: float
    alone: float = 0.5

    def __call__(self, rng: np.random.Generator, program: Program) -> Program:
        """A valid child of a valid program."""
        drawn = rng.random()
        if drawn < self.polish:
            return polish(program, self.goal, SWEEPS)
        if drawn < self.polish + self.tune and program.constants:
            return tune(rng, program, 10 ** rng.uniform(-2, 0))
        for _ in range(rng.geometric(self.alone)):
            program = self.mutation(rng, program)
        return program


def searches(config: DistilConfig, subject: Subject) -> list[Search]:
    """The restarts."""
    sizes = config.search
    change = Change(subject.mutation(sizes.longest), subject.goal(sizes.parsimony), sizes.tune, sizes.polish)
    return [
        Search(
            Tournament(change, sizes.tournament),
            subject.initial,
            Memory(canonical_hash, lambda program: behaviour(subject, program)),
            np.random.default_rng([config.run.seed, i]),
            sizes.population,
            sizes.batch,
            plateau=sizes.plateau,
        )
        for i in range(sizes.restarts)
    ]


def behaviour(subject: Subject, program: Program) -> str:
    """The same for programs of one length that do alike."""
    length = len(prune_loop(program).statements)
    return hashlib.blake2b(subject.behaviour(program) + b"%d" % length, digest_size=12).hexdigest()
