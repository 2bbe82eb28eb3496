"""Agents that fit an environment: a table where observations are state indices, networks elsewhere."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import optax

from lopt import nets
from lopt.agents.agent import ValueBaseline
from lopt.agents.disco import DiscoLifetime, disco_adam, mlp_torso
from lopt.agents.lifetime import RLLifetime
from lopt.agents.trainable import TrainableFactory, TrainableNet, TrainableTable
from lopt.objectives import DiscoRule
from lopt.protocols import Objective
from lopt.types import AgentOutput, Key, Level, TabularObs


def observation(levels: Callable[[Key], Level]) -> Any:
    """Shapes and types of one observation in the environment of a distribution of levels."""

    def reset(key: Key) -> Any:
        key_level, key_reset = jax.random.split(key)
        return environment_of(levels).reset(key_reset, levels(key_level).params)[0]

    return jax.eval_shape(reset, jax.random.key(0))


def default_trainable(
    levels: Callable[[Key], Level],
    table_rate: float,
    *,
    max_norm: float = 0.5,
    hidden: tuple[int, ...] = (32,),
    net_rate: float = 1e-3,
) -> TrainableFactory:
    """A factory of trainable modules for the observations of these levels.

    Args:
        levels: a distribution of levels, with its `environment`.
        table_rate: SGD learning rate of a table, for observations that are state indices (`TabularObs`).
        max_norm: the gradient norm at which a table's update is clipped.
        hidden: widths of the hidden layers of a network (an MLP), for other observations.
        net_rate: Adam learning rate of a network.

    Paper: arXiv 2310.02782, appendix (the default values).
    """
    if isinstance(observation(levels), TabularObs):
        return partial(
            TrainableTable, num_states=environment_of(levels).num_states, learning_rate=table_rate, max_norm=max_norm
        )
    return partial(TrainableNet, net=partial(nets.MLP, hidden), optimizer=optax.adam(net_rate))


def default_lifetime(
    levels: Callable[[Key], Level],
    objective: Objective,
    *,
    num_envs: int = 16,
    rollout_length: int = 20,
    policy_rate: float = 40.0,
    prediction_rate: float = 4.0,
    baseline_rate: float | None = None,
    regulariser: Callable[[AgentOutput, Any], Any] | None = None,
    hidden: tuple[int, ...] = (32,),
    net_rate: float = 1e-3,
) -> RLLifetime:
    """The lifetime of an agent that fits these levels, trained by an objective.

    Args:
        levels: a distribution of levels, with its `environment`: a function from a key to a level.
        objective: learned or hand-designed.
        num_envs: B, parallel environments.
        rollout_length: T, environment steps per update.
        policy_rate: SGD learning rate of a tabular policy.
        prediction_rate: SGD learning rate of a tabular prediction (A2C's value, LPG's y).
        baseline_rate: SGD learning rate of the meta-objective's value function; None for no such function, where the
            objective is only evaluated.
        regulariser: an auxiliary loss of the rule, see `RLLifetime`.
        hidden: widths of the hidden layers of networks.
        net_rate: Adam learning rate of networks.

    Raises:
        ValueError: levels without an environment.

    Paper: arXiv 2310.02782, appendix (tabular agents: rates 40 and 4, gradient norm 0.5).
    """
    trainable = partial(default_trainable, levels, hidden=hidden, net_rate=net_rate)
    return RLLifetime(
        env=environment_of(levels),
        objective=objective,
        policy=trainable(policy_rate),
        prediction=trainable(prediction_rate),
        num_envs=num_envs,
        rollout_length=rollout_length,
        baseline=None if baseline_rate is None else ValueBaseline(critic=trainable(baseline_rate)(features=1)),
        regulariser=regulariser,
    )


def default_torso(levels: Callable[[Key], Level], widths: tuple[int, ...]) -> nn.Module:
    """A torso of DiscoRL's agents that fits these levels: a table as wide as the last layer, or an MLP."""
    if isinstance(observation(levels), TabularObs):
        return nets.Tabular(environment_of(levels).num_states, widths[-1])
    return mlp_torso(*widths)


def default_disco_lifetime(
    levels: Callable[[Key], Level],
    rule: DiscoRule,
    *,
    widths: tuple[int, ...] = (64,),
    net_rate: float = 1e-2,
    num_envs: int = 16,
    rollout_length: int = 20,
) -> DiscoLifetime:
    """The lifetime of an agent that fits these levels, trained by DiscoRL's rule; it is not for meta-gradients.

    Args:
        levels: a distribution of levels, with its `environment`: a function from a key to a level.
        rule: the rule.
        widths: of the layers of the torso, of which a table has the last.
        net_rate: learning rate of the agent's Adam.
        num_envs: B, parallel environments.
        rollout_length: T, environment steps per update.

    Raises:
        ValueError: levels without an environment, or with real actions.
    """
    return DiscoLifetime(
        env=environment_of(levels),
        rule=rule,
        torso=default_torso(levels, widths),
        optimizer=disco_adam(net_rate),
        state_size=widths[-1],
        hidden=widths[-1],
        num_envs=num_envs,
        rollout_length=rollout_length,
    )


def longest_episode(levels: Callable[[Key], Level]) -> int:
    """The largest number of steps of an episode on these levels, from their `max_steps`, a number or a distribution.

    Raises:
        ValueError: levels without `max_steps`.
    """
    limit = getattr(levels, "max_steps", None)
    limit = getattr(environment_of(levels), "max_steps", None) if limit is None else limit
    limit = getattr(limit, "high", limit)
    if not isinstance(limit, int):
        raise ValueError(
            f"levels: expected an attribute max_steps, the longest episode (got {type(levels).__name__} without one)"
        )
    return limit


def environment_of(levels: Callable[[Key], Level]) -> Any:
    """The environment of a distribution of levels.

    Raises:
        ValueError: levels without one.
    """
    env = getattr(levels, "environment", None)
    if env is None:
        raise ValueError(
            "levels: expected a distribution of levels with an attribute `environment`, such as envs.gridworld.All() "
            f"(got {type(levels).__name__})"
        )
    return env
