"""Construction of the rule, the lifetimes and the meta-learner from a configuration."""

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import optax

from envs.int_distributions import Fixed, LogUniform
from experiments.cli.command_line import check_contract, choose, instantiate
from experiments.cli.conditioning import conditioning
from experiments.cli.evolution import evolution, persistent_evolution
from experiments.cli.levels import LEVELS
from experiments.grid.compat import GrooveCompat, MeanAdvantageA2C, mean_over_time
from experiments.grid.config import StudyConfig
from experiments.grid.names import (
    A2C_START,
    FITNESS,
    FLAG_BUG,
    FROZEN_BASELINE,
    MEAN_ADVANTAGE,
    OBJECTIVES,
    PRIORITIES,
    RAW_TIME,
    RECURRENCES,
    SCORES,
    STOPPED_INPUTS,
    TIMES,
    TOP_REPLAY,
    ScoreParts,
)
from experiments.grid.start import initial_theta, trainable
from lopt import curriculum, nets
from lopt.agents import (
    FinalReturn,
    LifetimeReturn,
    MeanReturn,
    RLLifetime,
    TrainableNet,
    ValueBaseline,
    longest_episode,
)
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPG, LPGRegulariser
from lopt.protocols import Estimator, Lifetime, Objective
from lopt.rules import load_rule, rebuild
from lopt.types import Key, MetaState, Theta


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        distribution: of the levels, `key -> Level`.
        rule: the objective that is meta-trained.
        lifetime: an agent under the rule.
        antagonist: an A2C agent, for the regret and as baseline.
        raw_a2c: the same without normalised advantages, at its own learning rate.
        learner: the outer loop.
        max_steps: bound on the length of an episode, in environment steps.
        theta: initial meta-parameters; None for random ones.
    """

    distribution: Any
    rule: Any
    lifetime: RLLifetime
    antagonist: RLLifetime
    raw_a2c: RLLifetime
    learner: MetaLearner
    max_steps: int
    theta: Theta | None = None

    def init(self, key: Key) -> MetaState:
        """The state before the first meta-step, with the initial theta of the rule or `theta`."""
        key_rule, key_learner = jax.random.split(key)
        return self.learner.init(key_learner, self.rule.init(key_rule) if self.theta is None else self.theta)


def build(config: StudyConfig) -> Study:
    """The study of a configuration.

    Raises:
        ValueError: a score that needs tabular levels.
    """
    compat, agent, meta = config.reproduces, config.agent, config.meta
    levels = config.levels
    num_updates = (
        Fixed(levels.num_updates) if levels.shortest is None else LogUniform(levels.shortest, levels.num_updates)
    )
    distribution = choose("level distribution", levels.distribution, LEVELS, extensible=True)(num_updates=num_updates)
    env = distribution.environment
    rule = _rule(config)
    actor, critic = trainable(config, env, agent.policy_rate), trainable(config, env, agent.value_rate)
    sizes: dict[str, Any] = {"num_envs": agent.num_envs, "rollout_length": agent.rollout_length}
    frozen = partial(TrainableNet, net=partial(nets.Tabular, env.num_states), optimizer=optax.set_to_zero())
    value = (frozen if FROZEN_BASELINE in compat else critic)(features=1)
    baseline: ValueBaseline | None = ValueBaseline(critic=value, gamma=agent.gamma, lam=agent.lam)
    if meta.estimator in ("es", "pes") and config.score in ("alg_regret", "uniform", "optimal_regret", "random_regret"):
        baseline = None  # neither the fitness nor the score reads it
    predictor = trainable(config, env, agent.prediction_rate)
    lifetime = RLLifetime(
        env=env,
        objective=rule,
        policy=actor,
        prediction=predictor,
        baseline=baseline,
        regulariser=_regulariser(config) if isinstance(rule, LPG) else None,
        **sizes,
    )
    a2c = A2C(gamma=agent.gamma, lam=agent.lam, entropy_weight=agent.entropy_weight)
    baseline_objective: Objective = a2c
    if MEAN_ADVANTAGE in compat:
        lifetime, baseline_objective = replace(lifetime, transform_advantage=mean_over_time), MeanAdvantageA2C(a2c)
    antagonist = RLLifetime(
        env=env,
        objective=baseline_objective,
        policy=trainable(config, env, agent.a2c_rate),
        prediction=critic,
        **sizes,
    )
    raw_a2c = replace(
        antagonist, objective=replace(a2c, normalise=False), policy=trainable(config, env, agent.raw_a2c_rate)
    )
    max_steps = longest_episode(distribution)
    score = _score(config, lifetime, antagonist, max_steps)
    estimator, optimizer = _estimator(config, lifetime, max_steps)
    learner = MetaLearner(
        estimator=estimator,
        curriculum=_curriculum(config, distribution),
        score=score,
        optimizer=optimizer,
        num_lifetimes=meta.num_lifetimes,
        stagger=meta.estimator != "es",
        rule=rule,
    )
    study = Study(distribution, rule, lifetime, antagonist, raw_a2c, learner, max_steps)
    if own := [name for name in (config.rule.objective, config.score, levels.distribution) if "." in name]:
        check_contract(", ".join(own), study.init, learner.step, rule)
    return study


def with_start(config: StudyConfig, study: Study) -> Study:
    """The study with the initial theta that rule.start names; an imitation takes about a minute.

    Raises:
        ValueError: `rule.start` is no rule file of this architecture, or an imitation by a rule that is no LPG.
    """
    if config.start is None:
        return study
    return replace(study, theta=initial_theta(config, config.start, study.rule, study.antagonist, study.distribution))


def _rule(config: StudyConfig) -> Any:
    """LPG with its options, or the objective of an import path: an object, or a class or function without arguments."""
    rule = config.rule
    if rule.objective != "lpg":
        found = choose("objective", rule.objective, OBJECTIVES, extensible=True)
        return instantiate(found)
    time = "raw" if RAW_TIME in config.reproduces and rule.time == "normalised" else rule.time
    levels = config.levels
    lpg = LPG(
        prediction_size=rule.prediction_size,
        hidden=rule.hidden,
        embedding=rule.embedding,
        alpha_y=rule.alpha_y,
        recurrence=RECURRENCES[rule.recurrence],
        conditioning=conditioning(TIMES[time], levels.shortest or levels.num_updates, levels.num_updates),
        time_init_scale=rule.time_init_scale,
        input_gradient=STOPPED_INPUTS not in config.reproduces,
        normalise=rule.normalise,
    )
    if config.start not in (None, A2C_START):
        # its weights belong to the scale of the time inputs that it was trained with
        start = rebuild(load_rule(config.start).card)
        if isinstance(start, LPG) and type(start.conditioning) is type(lpg.conditioning):
            return replace(lpg, conditioning=start.conditioning)
    return lpg


def _regulariser(config: StudyConfig) -> LPGRegulariser:
    meta = config.meta
    return LPGRegulariser(
        policy_entropy=meta.policy_entropy,
        prediction_entropy=meta.prediction_entropy,
        pi_hat_l2=meta.pi_hat_l2,
        y_hat_l2=meta.y_hat_l2,
    )


def _estimator(
    config: StudyConfig, lifetime: RLLifetime, max_steps: int
) -> tuple[Estimator, optax.GradientTransformation]:
    """The estimator of the gradient in theta, and the optimizer of theta."""
    meta, es, rate = config.meta, config.es, _rate(config)
    if meta.estimator == "meta_gradient":
        estimator = MetaGradient(
            lifetime=lifetime,
            num_updates=meta.num_updates,
            chunk_size=meta.chunk_size,
            remat=meta.remat,
            lifetime_norm=meta.lifetime_norm,
        )
        return estimator, optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate))
    start = FITNESS[meta.fitness]
    fitness: Lifetime
    if start is None:
        evaluate = MeanReturn(
            env=lifetime.env, policy=lifetime.agent.act, num_episodes=es.episodes, max_steps=max_steps
        )
        fitness = FinalReturn(lifetime=lifetime, evaluate=evaluate)
    else:
        tracked = replace(lifetime, tracked_updates=config.levels.num_updates)
        fitness = LifetimeReturn(tracked, start=start)
    if meta.estimator == "pes":
        return persistent_evolution(es, fitness, meta.num_updates, rate)
    return evolution(es, fitness, lifetime.objective.init, config.updates_per_step, rate)


def _rate(config: StudyConfig) -> optax.Schedule:
    meta = config.meta
    return optax.cosine_decay_schedule(meta.learning_rate, max(meta.num_steps, 1), alpha=meta.final_rate)


def _curriculum(config: StudyConfig, distribution: Any) -> Any:
    options, compat = config.curriculum, config.reproduces
    if config.score == "uniform":
        levels = curriculum.DomainRandomisation(distribution)
        arms = tuple(itertools.product(options.rate_arms, options.prediction_arms))
        return curriculum.RateBandit(curriculum=levels, arms=arms) if arms else levels
    priority = PRIORITIES[options.priority](options.temperature)
    shared = {"generator": distribution, "capacity": options.buffer, "replay_probability": options.replay_probability}
    if compat & {FLAG_BUG, TOP_REPLAY}:
        return GrooveCompat(
            priority=priority, reset_bug=FLAG_BUG in compat, top_transform=TOP_REPLAY in compat, **shared
        )
    return curriculum.Replay(priority=priority, staleness=options.staleness, **shared)


def _score(config: StudyConfig, lifetime: RLLifetime, antagonist: RLLifetime, max_steps: int) -> Any:
    if config.score == "uniform" and config.curriculum.rate_arms:
        return curriculum.LifetimeReward()

    def mean_return(agent_lifetime: RLLifetime) -> MeanReturn:
        return MeanReturn(
            env=agent_lifetime.env,
            policy=agent_lifetime.agent.act,
            num_episodes=config.curriculum.episodes,
            max_steps=max_steps,
        )

    make: Any = choose("score", config.score, SCORES, extensible=True)
    return (
        make()
        if isinstance(make, type)
        else make(ScoreParts(lifetime, antagonist, config.updates_per_step, mean_return))
    )
