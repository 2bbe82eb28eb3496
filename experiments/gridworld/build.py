"""From a configuration to the objects it stands for."""

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from envs.gridworld import TabularView, optimal_return, random_return
from envs.laws import Fixed, LogUniform
from experiments.common.conditioning import conditioning
from experiments.common.evolution import evolution
from experiments.gridworld.config import StudyConfig
from experiments.gridworld.names import LEVELS, PRIORITIES, RECURRENCES, TIMES
from lopt import curriculum, nets
from lopt.agents import FinalReturn, HeadFactory, MeanReturn, NetHead, RLLifetime, TableHead, ValueBaseline
from lopt.export import load_rule, rebuild
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPG, LPGPenalty
from lopt.types import Key, MetaState, Theta


@dataclass(frozen=True)
class Study:
    """The parts of a run: the rule, the lives it shapes, what they are compared with, and the outer loop."""

    distribution: Any
    rule: LPG
    lifetime: RLLifetime
    antagonist: RLLifetime
    learner: MetaLearner
    max_steps: int
    """No episode is longer."""
    theta: Theta | None = None
    """The rule to start from; None for a random one."""

    def init(self, key: Key) -> MetaState:
        """The state before the first meta-step."""
        key_rule, key_learner = jax.random.split(key)
        return self.learner.init(key_learner, self.rule.init(key_rule) if self.theta is None else self.theta)


def build(config: StudyConfig) -> Study:
    """Assemble a study."""
    defects, agent, meta = config.reproduces, config.agent, config.meta
    levels = config.levels
    law = Fixed(levels.lifetime) if levels.shortest is None else LogUniform(levels.shortest, levels.lifetime)
    distribution = LEVELS[config.levels.distribution](lifetime=law)
    env = distribution.environment
    rule = _rule(config)
    actor, critic = _heads(config, env, agent.policy_rate), _heads(config, env, agent.value_rate)
    sizes = {"num_envs": agent.num_envs, "rollout_length": agent.rollout_length}
    frozen = partial(NetHead, partial(nets.Tabular, env.num_states), optax.set_to_zero())
    baseline: ValueBaseline | None = ValueBaseline((frozen if "G1" in defects else critic)(1), agent.gamma, agent.lam)
    if meta.estimator == "es" and config.score not in ("pvl", "l1", "maxmc"):
        baseline = None  # nobody asks it
    predictor = _heads(config, env, agent.prediction_rate)
    lifetime = RLLifetime(env, rule, actor, predictor, baseline=baseline, mean_advantage="G2" in defects, **sizes)
    a2c = A2C(agent.gamma, agent.lam, agent.entropy_weight, mean_advantage="G2" in defects)
    antagonist = RLLifetime(env, a2c, actor, critic, **sizes)
    max_steps = getattr(distribution.max_steps, "high", None) or distribution.max_steps.value
    score = _score(config, lifetime, antagonist, max_steps)
    if meta.estimator == "es":
        measure = MeanReturn(env, lifetime.agent.act, config.es.episodes, max_steps)
        estimator, optimizer = evolution(
            config.es, FinalReturn(lifetime, measure), rule.init, config.updates_per_step, _rate(config)
        )
    else:
        estimator, optimizer = _meta_gradient(config, lifetime), _optimizer(config)
    learner = MetaLearner(
        estimator,
        _curriculum(config, distribution),
        score,
        optimizer,
        meta.num_lifetimes,
        stagger=meta.estimator != "es",
    )
    theta = None if config.rule.start is None else start_from(config.rule.start, rule)
    return Study(distribution, rule, lifetime, antagonist, learner, max_steps, theta)


def start_from(path: str, rule: LPG) -> Theta:
    """The meta-parameters of a rule file.

    Raises:
        ValueError: no such file, or one of another architecture.
    """
    theta = load_rule(path).theta
    shapes = jax.tree.map(jnp.shape, theta)
    expected = jax.tree.map(jnp.shape, jax.eval_shape(rule.init, jax.random.key(0)))
    if shapes != expected:
        raise ValueError(f"rule.start: {path} does not fit the rule options (got {shapes}, expected {expected})")
    return jax.tree.map(jnp.asarray, theta)


def _rule(config: StudyConfig) -> LPG:
    rule = config.rule
    time = "raw" if "G3" in config.reproduces and rule.time == "normalised" else rule.time
    levels = config.levels
    made = LPG(
        prediction_size=rule.prediction_size,
        hidden=rule.hidden,
        embedding=rule.embedding,
        alpha_y=rule.alpha_y,
        recurrence=RECURRENCES[rule.recurrence],
        conditioning=conditioning(TIMES[time], levels.shortest or levels.lifetime, levels.lifetime),
        time_scale=rule.time_scale,
        input_gradient="G23" not in config.reproduces,
    )
    if rule.start is not None:  # its weights belong to the scale of time that it was trained with
        start = rebuild(load_rule(rule.start).card)
        if isinstance(start, LPG) and type(start.conditioning) is type(made.conditioning):
            return replace(made, conditioning=start.conditioning)
    return made


def _meta_gradient(config: StudyConfig, lifetime: RLLifetime) -> MetaGradient:
    meta = config.meta
    return MetaGradient(
        lifetime,
        meta.num_updates,
        LPGPenalty(meta.policy_entropy, meta.prediction_entropy, meta.pi_hat_l2, meta.y_hat_l2),
        chunk_size=meta.chunk_size,
        remat=meta.remat,
        lifetime_norm=meta.lifetime_norm,
    )


def _heads(config: StudyConfig, env: Any, rate: float) -> HeadFactory:
    """Tables where a state is an index, networks where it is planes."""
    agent = config.agent
    if isinstance(env.view, TabularView):
        return partial(TableHead, env.num_states, rate, agent.max_norm)
    net = (
        partial(nets.Conv, agent.net_channels, agent.net_hidden)
        if agent.net_channels
        else partial(nets.MLP, agent.net_hidden)
    )
    return partial(NetHead, net, optax.adam(agent.net_rate))


def _rate(config: StudyConfig) -> optax.Schedule:
    meta = config.meta
    return optax.cosine_decay_schedule(meta.learning_rate, meta.num_steps, alpha=meta.final_rate)


def _optimizer(config: StudyConfig) -> optax.GradientTransformation:
    meta, rate = config.meta, _rate(config)
    return optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate))


def _curriculum(config: StudyConfig, distribution: Any) -> Any:
    kept, defects = config.curriculum, config.reproduces
    if config.score == "uniform":
        levels = curriculum.DomainRandomisation(distribution)
        arms = tuple(itertools.product(kept.rate_arms, kept.prediction_arms))
        return curriculum.RateBandit(levels, arms) if arms else levels
    priority = PRIORITIES[kept.priority](kept.temperature)
    shared = {"generator": distribution, "capacity": kept.buffer, "replay_probability": kept.replay_probability}
    if defects & {"G6", "G7"}:
        return curriculum.GrooveCompat(
            priority=priority, reset_bug="G6" in defects, top_transform="G7" in defects, **shared
        )
    return curriculum.Replay(priority=priority, staleness=kept.staleness, **shared)


def _score(config: StudyConfig, lifetime: RLLifetime, antagonist: RLLifetime, max_steps: int) -> Any:
    episodes = config.curriculum.episodes

    def returns(life: RLLifetime) -> MeanReturn:
        return MeanReturn(life.env, life.agent.act, episodes, max_steps)

    if config.score == "alg_regret":
        return curriculum.AlgorithmicRegret(
            antagonist=antagonist,
            num_updates=config.updates_per_step,
            evaluate=returns(lifetime),
            evaluate_antagonist=returns(antagonist),
        )
    exact = {"optimal_regret": optimal_return, "random_regret": random_return}
    if config.score in exact:
        if not isinstance(lifetime.env.view, TabularView):
            raise ValueError(f"score {config.score} is exact and needs tabular levels; try alg_regret")
        value = exact[config.score]
        return curriculum.OracleRegret(
            oracle=lambda key, level: value(lifetime.env, level.params), evaluate=returns(lifetime)
        )
    simple = {
        "uniform": curriculum.LifetimeReward if config.curriculum.rate_arms else curriculum.Uniform,
        "pvl": curriculum.PositiveValueLoss,
        "l1": curriculum.L1ValueLoss,
        "maxmc": curriculum.MaxMC,
    }
    return simple[config.score]()
