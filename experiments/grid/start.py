"""The start of meta-training: a rule file, or the imitation of a hand-made objective; and agents' modules."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from envs.gridworld import TabularView
from experiments.grid.config import StudyConfig
from experiments.grid.names import A2C_START
from lopt import nets
from lopt.agents import Imitation, RLLifetime, TrainableFactory, TrainableNet, TrainableTable, demonstrations
from lopt.objectives import LPG, ScheduledA2C
from lopt.rules import load_rule, rebuild
from lopt.training import jit_once, status
from lopt.types import Theta

NUM_LEVELS = 96
"""Number of levels whose agents are imitated."""


def initial_theta(config: StudyConfig, start: str, rule: Any, antagonist: RLLifetime, distribution: Any) -> Theta:
    """The initial theta of `rule`: of the rule file `start`, or by imitation of A2C or of a file's `ScheduledA2C`.

    Raises:
        ValueError: no such file, meta-parameters of other shapes than those of `rule`, or an imitation by a rule that
            is no LPG.
    """
    if start == A2C_START:
        teacher: Any = ScheduledA2C()
        theta = teacher.init(jax.random.key(0))
    else:
        file = load_rule(start)
        teacher, theta = rebuild(file.card), jax.tree.map(jnp.asarray, file.theta)
    if isinstance(teacher, ScheduledA2C) and not isinstance(rule, ScheduledA2C):
        if not isinstance(rule, LPG):
            raise ValueError(f"rule.start: only lpg imitates other objectives (got {config.rule.objective})")
        if teacher.counts:
            raise ValueError(f"rule.start: {start} counts visits, and lpg does not imitate that; expected no counts")
        with status(f"imitating {start}", config.run.progress):
            return imitate(config, rule, teacher, theta, antagonist, distribution)
    shapes = jax.tree.map(jnp.shape, theta)
    expected = jax.tree.map(jnp.shape, jax.eval_shape(rule.init, jax.random.key(0)))
    if shapes != expected:
        raise ValueError(f"rule.start: {start} does not fit the rule options (got {shapes}, expected {expected})")
    return theta


def imitate(
    config: StudyConfig, rule: LPG, teacher: ScheduledA2C, theta: Theta, antagonist: RLLifetime, distribution: Any
) -> Theta:
    """Meta-parameters of `rule` that imitate `teacher`, from agents on `NUM_LEVELS` levels of the run's seed.

    The entropy's term has the mean entropy of the rollout as its baseline: that of each state is no input of LPG.

    These agents have the learning rates of A2C: agent.a2c-rate for the policy where advantages are normalised, else
    agent.raw-a2c-rate, and agent.value-rate.
    """
    teacher = replace(teacher, state_entropy=False)
    rate = config.agent.a2c_rate if teacher.normalise else config.agent.raw_a2c_rate
    policy = trainable(config, distribution.environment, rate)
    lifetime = replace(antagonist, objective=teacher, policy=policy)
    root = jax.random.fold_in(jax.random.key(20_231_004), config.run.seed)
    key_levels, key_agents, key_rule = jax.random.split(root, 3)
    levels = jit_once(jax.vmap(distribution))(jax.random.split(key_levels, NUM_LEVELS))
    num_updates = int(levels.num_updates.min())
    data = jit_once(lambda key: demonstrations(key, lifetime, theta, levels, num_updates))(key_agents)
    return Imitation(teacher=teacher)(key_rule, rule, theta, data)[0]


def trainable(config: StudyConfig, env: Any, rate: float) -> TrainableFactory:
    """Tables with SGD at `rate` where observations are indices, networks with Adam where they are planes."""
    agent = config.agent
    if isinstance(env.view, TabularView):
        return partial(TrainableTable, num_states=env.num_states, learning_rate=rate, max_norm=agent.max_norm)
    net = (
        partial(nets.Conv, agent.net_channels, agent.net_hidden)
        if agent.net_channels
        else partial(nets.MLP, agent.net_hidden)
    )
    return partial(TrainableNet, net=net, optimizer=optax.adam(agent.net_rate))
