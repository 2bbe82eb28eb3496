"""Construction of the rule, the agents' lifetimes and the outer loop from a configuration."""

from dataclasses import dataclass
from functools import partial

import optax

from experiments.agents.env_setup import EnvSetup, env_setup
from experiments.cli.command_line import check_contract, is_import_path
from experiments.cli.evolution import evolution
from experiments.optimizer.build import make_rule
from experiments.optimizer.rl.config import BASELINES, RLStudyConfig
from lopt.agents import FinalReturn, LearnedOptimizerLifetime, LifetimeReturn
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaLearner
from lopt.objectives import Clip
from lopt.optimizers import FromOptax
from lopt.protocols import LearnedOptimizer


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        env_setups: by name, the environments of the final table; the first is that of meta-training.
        rule: the optimizer that is meta-trained.
        learner: the outer loop.
    """

    env_setups: dict[str, EnvSetup]
    rule: LearnedOptimizer
    learner: MetaLearner


def build(config: RLStudyConfig) -> Study:
    """The study of a configuration.

    Raises:
        ValueError: an unknown environment, or sizes of a rollout that do not fit together.
    """
    env_setups = {name: env_setup(name, config.inner.settings(name)) for name in config.envs}
    setup, rule, meta = env_setups[config.envs[0]], make_rule(config.rule), config.meta
    make = partial(with_fitness, setup, config.training.fitness, config.es.episodes)
    lifetime = LearnedOptimizerLifetime(rule=rule, make=make)
    rate = optax.cosine_decay_schedule(meta.learning_rate, meta.num_steps, meta.final_rate)
    estimator, optimizer = evolution(config.es, lifetime, rule.init, setup.settings.num_updates, rate)
    learner = MetaLearner(
        estimator=estimator,
        curriculum=DomainRandomisation(setup.levels),
        score=Uniform(),
        optimizer=optimizer,
        num_lifetimes=meta.num_lifetimes,
        rule=rule,
    )
    if is_import_path(config.rule.name):
        check_contract(config.rule.name, learner.init, learner.step, rule)
    return Study(env_setups, rule, learner)


def with_fitness(
    setup: EnvSetup, fitness: str, episodes: int, optimizer: optax.GradientTransformation
) -> FinalReturn | LifetimeReturn:
    """The lifetime of a PPO agent that is trained by `optimizer`, whose meta-loss is minus the fitness of that name."""
    lifetime = setup.lifetime(Clip(), episodes, optimizer, anneal=False)
    if fitness == "lifetime":
        return LifetimeReturn(lifetime)
    return FinalReturn(lifetime=lifetime, evaluate=setup.evaluator(lifetime, episodes))


def learned(setup: EnvSetup, rule: LearnedOptimizer, episodes: int) -> LearnedOptimizerLifetime:
    """The lifetime of a PPO agent that is trained by the rule."""
    return LearnedOptimizerLifetime(rule=rule, make=partial(setup.lifetime, Clip(), episodes, anneal=False))


def baseline(setup: EnvSetup, name: str, anneal: bool, episodes: int) -> LearnedOptimizerLifetime:
    """The lifetime of a PPO agent that is trained by a baseline, with the learning rate as theta."""
    rule = FromOptax(partial(BASELINES[name], setup))
    return LearnedOptimizerLifetime(rule=rule, make=partial(setup.lifetime, Clip(), episodes, anneal=anneal))
