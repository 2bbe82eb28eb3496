"""Construction of the rule, the agents' lifetimes and the meta-learner from a configuration."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax

from envs.gymnax import gymnax_env
from experiments.cli.command_line import choose
from experiments.cli.environments import GRID, environment
from experiments.cli.levels import LEVELS
from experiments.discorl.config import CATCH, DiscoStudyConfig
from lopt.agents import (
    DiscoLifetime,
    TrainableNet,
    TrajectoryReplay,
    ValueBaseline,
    default_torso,
    disco_adam,
    longest_episode,
)
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner, TrainedRule
from lopt.nets import MLP, Tabular
from lopt.objectives import DiscoRegulariser, DiscoRule, ValueBins
from lopt.rules import load
from lopt.types import Key, Level, Theta


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        levels: distribution of the levels, `key -> Level`, with the number of updates of the agents.
        rule: the rule.
        theta: its meta-parameters if they come from a file; None for a rule that is meta-trained.
        lifetime: the agents' lifetime.
        learner: the outer loop.
        max_steps: bound on the length of an episode.
    """

    levels: Callable[[Key], Level]
    rule: DiscoRule
    theta: Theta | None
    lifetime: DiscoLifetime
    learner: MetaLearner
    max_steps: int


def build(config: DiscoStudyConfig) -> Study:
    """The study of a configuration.

    Raises:
        ValueError: an unknown environment or one with real actions, or a rule file that is missing or holds another
            rule than DiscoRL's.
    """
    loaded = None if config.rule is None else load_rule(config.rule)
    rule = new_rule(config) if loaded is None else loaded.rule
    env, distribution, max_steps = _environment(config)

    def levels(key: Key) -> Level:
        return distribution(key).replace(num_updates=jnp.asarray(config.agent.num_updates, jnp.int32))

    meta = config.meta
    lifetime = _lifetime(config, env, distribution, rule)
    learner = MetaLearner(
        estimator=MetaGradient(
            lifetime=lifetime,
            num_updates=meta.num_updates,
            chunk_size=meta.chunk_size,
            remat=meta.remat,
            lifetime_norm=meta.lifetime_norm,
        ),
        curriculum=DomainRandomisation(levels),
        score=Uniform(),
        optimizer=optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(meta.learning_rate)),
        num_lifetimes=meta.num_lifetimes,
        stagger=False,  # agents of shortened first lifetimes would end before the rule has learned anything from them
        rule=rule,
    )
    return Study(levels, rule, None if loaded is None else loaded.theta, lifetime, learner, max_steps)


def new_rule(config: DiscoStudyConfig) -> DiscoRule:
    """The rule that is meta-trained."""
    sizes = config.network
    return DiscoRule(
        prediction_size=sizes.prediction_size,
        hidden=sizes.hidden,
        lifetime_hidden=sizes.lifetime_hidden,
        bins=ValueBins(sizes.bins, sizes.bin_limit),
    )


def load_rule(path: str) -> TrainedRule:
    """The rule of a file, with its meta-parameters.

    Raises:
        ValueError: no such file, a damaged one, or one of another rule.
    """
    loaded = load(path)
    if not isinstance(loaded, TrainedRule) or not isinstance(loaded.rule, DiscoRule):
        raise ValueError(
            f"rule: {path} must hold a DiscoRule, such as runs/disco/rule or disco_103.npz (got {loaded!r})"
        )
    return loaded


def tested(config: DiscoStudyConfig, study: Study) -> DiscoLifetime:
    """The lifetime of agents in a meta-test, which keeps all returns."""
    return replace(study.lifetime, baseline=None, regulariser=None, tracked_updates=config.eval.num_updates)


def _lifetime(config: DiscoStudyConfig, env: Any, distribution: Any, rule: DiscoRule) -> DiscoLifetime:
    agent, meta = config.agent, config.meta
    torso = default_torso(distribution, agent.torso)
    tabular = isinstance(torso, Tabular)
    net = partial(Tabular, env.num_states) if tabular else partial(MLP, meta.critic)
    critic = TrainableNet(net=net, optimizer=optax.adam(meta.critic_rate), features=1)
    return DiscoLifetime(
        env=env,
        rule=rule,
        torso=torso,
        optimizer=disco_adam(agent.learning_rate),
        state_size=agent.state_size,
        hidden=agent.hidden,
        num_envs=agent.num_envs,
        rollout_length=agent.rollout_length,
        replay=TrajectoryReplay(capacity=agent.replay, batch_size=agent.batch_size) if agent.replay else None,
        baseline=ValueBaseline(critic=critic, gamma=meta.gamma, lam=meta.lam),
        regulariser=DiscoRegulariser(
            policy_entropy=meta.policy_entropy,
            prediction_entropy=meta.prediction_entropy,
            target_mean=meta.target_mean,
            target_kl=meta.target_kl,
        ),
    )


def _environment(config: DiscoStudyConfig) -> tuple[Any, Any, int]:
    """The environment, the distribution of its levels, and the bound on the length of an episode."""
    name = config.env.name
    if name == CATCH:
        env: Any = gymnax_env("Catch-bsuite", rows=config.env.rows, columns=config.env.columns)
        return env, env, config.env.rows
    if name.startswith(GRID):
        levels = choose("level distribution", name.removeprefix(GRID), LEVELS)()
        return levels.environment, levels, longest_episode(levels)
    return environment(name)
