"""From a configuration to the objects it stands for."""

from dataclasses import dataclass

import jax
import optax

from experiments.common.evolution import SHAPINGS
from experiments.learned_optimizer.config import StudyConfig
from experiments.learned_optimizer.names import RULES, SIZED, TASKS
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import ES, PES, MetaGradient, MetaLearner
from lopt.protocols import Estimator, LearnedOptimizer
from lopt.tasks import Late, Rescaled, SupervisedLifetime, Variations
from lopt.types import Key, MetaState


@dataclass(frozen=True)
class Study:
    """The parts of a run: the rule, the lives it shapes, and the outer loop."""

    rule: LearnedOptimizer
    lifetime: SupervisedLifetime
    learner: MetaLearner

    def init(self, key: Key) -> MetaState:
        """The state before the first meta-step."""
        key_rule, key_learner = jax.random.split(key)
        return self.learner.init(key_learner, self.rule.init(key_rule))


def build(config: StudyConfig) -> Study:
    """Assemble a study."""
    training, meta = config.training, config.meta
    sizes = {"step_size": config.rule.step_size, "exponent": config.rule.exponent}
    rule = RULES[config.rule.name](**(sizes if config.rule.name in SIZED else {}))
    task = TASKS[training.task]()
    if training.rescale > 1:
        task = Rescaled(task, 1 / training.rescale, training.rescale)
    lifetime = SupervisedLifetime(task, rule, weight=Late(training.lateness), bound=training.bound)
    levels = DomainRandomisation(Variations(task, training.lifetime, training.shortest))
    rate = optax.cosine_decay_schedule(meta.learning_rate, meta.num_steps)
    optimizer = optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate))
    learner = MetaLearner(estimator(config, lifetime), levels, Uniform(), optimizer, meta.num_lifetimes)
    return Study(rule, lifetime, learner)


def estimator(config: StudyConfig, lifetime: SupervisedLifetime) -> Estimator:
    """The estimator by its name."""
    meta = config.meta
    if meta.estimator == "meta_gradient":
        return MetaGradient(lifetime, meta.num_updates, lifetime_norm=meta.lifetime_norm)
    shaping = SHAPINGS[meta.shaping]()
    if meta.estimator == "es":
        return ES(lifetime, meta.num_updates, meta.std, shaping)
    return PES(lifetime, meta.num_updates, meta.std, reuse=meta.estimator == "nres", shaping=shaping)
