"""Construction of the rule, the lifetimes on every task and the meta-learner from a configuration."""

from dataclasses import dataclass

import optax

from envs import LogUniform
from experiments.cli.command_line import check_contract
from experiments.cli.tasks import make_task
from experiments.optimizer.normalised.config import NormalisedStudyConfig
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import PES, MetaLearner, MultiTask, PairSign, TaskLevels
from lopt.optimizers import NormalisedRule, Scheduled
from lopt.protocols import Task
from lopt.tasks import PowerLossWeight, RandomSchedule, Rescaled, SupervisedLifetime, Variations, WindowLoss


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        rule: the optimizer that is meta-trained.
        learner: the outer loop.
    """

    rule: NormalisedRule
    learner: MetaLearner


def build(config: NormalisedStudyConfig) -> Study:
    """The study of a configuration."""
    training, meta = config.training, config.meta
    rule = NormalisedRule(hidden=config.rule.hidden)
    tasks = [training_task(config, name, rate) for name, rate in zip(training.tasks, config.peak_rates, strict=True)]
    lengths = LogUniform(training.shortest, training.num_updates)
    rate = optax.cosine_decay_schedule(meta.learning_rate, max(1, meta.num_steps), meta.final_rate)
    learner = MetaLearner(
        estimator=MultiTask(
            estimators=tuple(_estimator(config, task) for task in tasks),
            names=training.tasks,
            norm_decay=meta.norm_decay,
        ),
        curriculum=DomainRandomisation(TaskLevels(tuple(Variations(task=task, num_updates=lengths) for task in tasks))),
        score=Uniform(),
        optimizer=optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate, b2=0.99)),
        num_lifetimes=meta.num_lifetimes,
        rule=rule,
    )
    if own := [name for name in training.tasks if "." in name]:
        check_contract(", ".join(own), learner.init, learner.step, rule)
    return Study(rule, learner)


def training_task(config: NormalisedStudyConfig, name: str, rate: float) -> Task:
    """A task whose parameters are rescaled and whose learners have random schedules around the peak rate."""
    task, scale, width = make_task(name), config.training.rescale, config.training.rate_range
    if scale > 1:
        task = Rescaled(task=task, smallest=1 / scale, largest=scale)
    return RandomSchedule(task=task, smallest=rate / width, largest=rate * width)


def _estimator(config: NormalisedStudyConfig, task: Task) -> PES:
    """Noise-reuse evolution strategies on a task, whose learners are trained by the rule with their own schedules."""
    training, meta = config.training, config.meta
    optimizer = Scheduled(NormalisedRule(hidden=config.rule.hidden, learning_rate=1.0))
    lifetime = SupervisedLifetime(task=task, optimizer=optimizer, bound=training.bound)
    return PES(
        lifetime=WindowLoss(lifetime=lifetime, share=training.window_share, bound=training.bound),
        num_updates=meta.num_updates,
        std=meta.std,
        reuse=True,
        shaping=PairSign(),
        weight=PowerLossWeight(training.loss_power),
    )
