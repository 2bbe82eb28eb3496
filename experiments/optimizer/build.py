"""Construction of the rule, the lifetime and the meta-learner from a configuration."""

from dataclasses import dataclass

import jax
import optax

from experiments.cli.evolution import SHAPINGS
from experiments.cli.tasks import TASKS
from experiments.optimizer.config import StudyConfig
from experiments.optimizer.names import RULES, SIZED
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import ES, PES, MetaGradient, MetaLearner
from lopt.protocols import Estimator, LearnedOptimizer
from lopt.tasks import PowerLossWeight, Rescaled, SupervisedLifetime, Variations
from lopt.types import Key, MetaState


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

    def init(self, key: Key) -> MetaState:
        """The state before the first meta-step, with the initial theta of the rule."""
        key_rule, key_learner = jax.random.split(key)
        return self.learner.init(key_learner, self.rule.init(key_rule))


def build(config: StudyConfig) -> Study:
    """The study of a configuration."""
    training, meta = config.training, config.meta
    sizes = {"step_size": config.rule.step_size, "exponent": config.rule.exponent}
    rule = RULES[config.rule.name](**(sizes if config.rule.name in SIZED else {}))
    task = TASKS[training.task]()
    if training.rescale > 1:
        task = Rescaled(task=task, smallest=1 / training.rescale, largest=training.rescale)
    lifetime = SupervisedLifetime(
        task=task, optimizer=rule, weight=PowerLossWeight(training.loss_power), bound=training.bound
    )
    levels = DomainRandomisation(Variations(task=task, num_updates=training.num_updates, shortest=training.shortest))
    rate = optax.cosine_decay_schedule(meta.learning_rate, meta.num_steps)
    optimizer = optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate))
    learner = MetaLearner(
        estimator=estimator(config, lifetime),
        curriculum=levels,
        score=Uniform(),
        optimizer=optimizer,
        num_lifetimes=meta.num_lifetimes,
    )
    return Study(rule, lifetime, learner)


def estimator(config: StudyConfig, lifetime: SupervisedLifetime) -> Estimator:
    """The estimator of the gradient in theta that `config.meta.estimator` names."""
    meta = config.meta
    if meta.estimator == "meta_gradient":
        return MetaGradient(lifetime=lifetime, num_updates=meta.num_updates, lifetime_norm=meta.lifetime_norm)
    shaping = SHAPINGS[meta.shaping]()
    if meta.estimator == "es":
        return ES(lifetime=lifetime, num_updates=meta.num_updates, std=meta.std, shaping=shaping)
    return PES(
        lifetime=lifetime, num_updates=meta.num_updates, std=meta.std, reuse=meta.estimator == "nres", shaping=shaping
    )
