"""Construction of the distillation target and of the searches from a configuration."""

import hashlib

import optax

from experiments.search.distil.config import DistilConfig
from experiments.search.distil.drifts import DriftTarget
from experiments.search.distil.optimizers import OptimizerTarget
from lopt.objectives import Drift
from lopt.rules import load, load_rule, rebuild
from lopt.rules.registry import find
from lopt.search import MixedMutation, Program, canonical_hash, prune_loop
from lopt.search.evolution import FitnessCache, Search, Tournament

Target = DriftTarget | OptimizerTarget
"""The learned rule that is distilled."""


def load_target(config: DistilConfig) -> Target:
    """The distillation target: the drift or optimizer `config.rule`, the name of a shipped rule or a rule file.

    Raises:
        ValueError: a file that is missing or damaged, or holds neither a drift nor an optimizer.
    """
    rule, loaded = load_rule(find(config.rule)), load(config.rule)
    if isinstance(loaded, optax.GradientTransformation):
        return OptimizerTarget(loaded, config)
    drift = rebuild(rule.card) if callable(loaded) else None
    if not isinstance(drift, Drift):
        raise ValueError(
            f"rule: {config.rule} is a rule of another kind (got {rule.card.kind}, expected a drift or an optimizer)"
        )
    return DriftTarget(drift, rule.theta, config)


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
