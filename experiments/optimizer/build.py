"""Construction of the rule, the lifetime and the meta-learner from a configuration."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import optax

from envs import LogUniform
from experiments.cli.command_line import check_contract, choose, instantiate
from experiments.cli.evolution import SHAPINGS, ESConfig, evolution
from experiments.cli.tasks import make_task
from experiments.optimizer.config import BASELINES, RULES, SIZED, RuleConfig, StudyConfig
from lopt.curriculum import AlgorithmicRegret, DomainRandomisation, Replay, Uniform
from lopt.meta import ES, PES, MetaGradient, MetaLearner
from lopt.optimizers import FromOptax
from lopt.protocols import Curriculum, Estimator, LearnedOptimizer, Score
from lopt.tasks import PowerLossWeight, Rescaled, SupervisedLifetime, Variations
from lopt.types import Key, Level


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        rule: the optimizer that is meta-trained.
        lifetime: a learner of the task under the rule.
        learner: the outer loop.
    """

    rule: LearnedOptimizer
    lifetime: SupervisedLifetime
    learner: MetaLearner


def build(config: StudyConfig) -> Study:
    """The study of a configuration."""
    training, meta = config.training, config.meta
    rule = make_rule(config.rule)
    task = make_task(training.task)
    if training.rescale > 1:
        task = Rescaled(task=task, smallest=1 / training.rescale, largest=training.rescale)
    weight = PowerLossWeight(training.loss_power)
    lifetime = SupervisedLifetime(task=task, optimizer=rule, weight=weight, bound=training.bound)
    longest, shortest = training.num_updates, training.shortest
    levels = Variations(task=task, num_updates=longest if shortest is None else LogUniform(shortest, longest))
    estimator, optimizer = _estimator(config, lifetime)
    curriculum, score = _curriculum(config, lifetime, levels)
    learner = MetaLearner(
        estimator=estimator,
        curriculum=curriculum,
        score=score,
        optimizer=optimizer,
        num_lifetimes=meta.num_lifetimes,
        rule=rule,
    )
    if own := [name for name in (config.rule.name, training.task) if "." in name]:
        check_contract(", ".join(own), learner.init, learner.step, rule)
    return Study(rule, lifetime, learner)


def make_rule(config: RuleConfig) -> LearnedOptimizer:
    """A learned optimizer of lopt with its options, or that of an import path: an object, or a class to be called."""
    name = config.name
    found: Any = choose("rule", name, RULES, extensible=True)
    if name in SIZED:
        return found(step_size=config.step_size, exponent=config.exponent)
    return found() if name in RULES else instantiate(found)


def _estimator(config: StudyConfig, lifetime: SupervisedLifetime) -> tuple[Estimator, optax.GradientTransformation]:
    """The estimator of the gradient in theta that `config.meta.estimator` names, and the optimizer of theta."""
    meta = config.meta
    rate = optax.cosine_decay_schedule(meta.learning_rate, meta.num_steps)
    adam = optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate))
    if meta.estimator == "meta_gradient":
        gradient = MetaGradient(lifetime=lifetime, num_updates=meta.num_updates, lifetime_norm=meta.lifetime_norm)
        return gradient, adam
    shaping = SHAPINGS[meta.shaping]()
    if meta.estimator in ("pes", "nres"):
        reuse = meta.estimator == "nres"
        pes = PES(lifetime=lifetime, num_updates=meta.num_updates, std=meta.std, reuse=reuse, shaping=shaping)
        return pes, adam
    if meta.estimator == "es":
        return ES(lifetime=lifetime, num_updates=meta.num_updates, std=meta.std, shaping=shaping), adam
    options = ESConfig(strategy=meta.estimator, population=meta.population, std=meta.std)
    return evolution(options, lifetime, lifetime.optimizer.init, meta.num_updates, rate)


def _curriculum(config: StudyConfig, lifetime: SupervisedLifetime, levels: Variations) -> tuple[Curriculum, Score]:
    """New task instances for every lifetime, or replay of those on which a baseline optimizer is ahead of the rule."""
    options = config.curriculum
    if options.name == "uniform":
        return DomainRandomisation(levels), Uniform()
    baseline = BASELINES[options.antagonist](options.antagonist_rate)
    antagonist = replace(lifetime, optimizer=FromOptax(lambda _: baseline))

    def negative_loss(key: Key, level: Level, learner: Any) -> jax.Array:
        # theta does not enter the loss of a model that is trained
        return -lifetime.meta_loss(key, (), level, learner)[0]

    regret = AlgorithmicRegret(
        antagonist=antagonist,
        num_updates=config.meta.num_updates,
        evaluate=negative_loss,
        evaluate_antagonist=negative_loss,
    )
    replay = Replay(generator=levels, capacity=options.capacity, replay_probability=options.replay_probability)
    return replay, regret
