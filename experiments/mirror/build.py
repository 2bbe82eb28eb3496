"""From names and settings to lifetimes of PPO agents under any drift."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.common.checks import at_least
from experiments.common.cli import choose
from experiments.common.conditioning import conditioning
from experiments.mirror.environments import environment, reference
from experiments.mirror.settings import Settings
from lopt import objectives
from lopt.agents import (
    MeanReturn,
    MinibatchEpochs,
    NormaliseObservations,
    PPOLifetime,
    ScaleRewards,
    linear_annealing,
    no_annealing,
)
from lopt.nets import MLP, GaussianPolicy
from lopt.objectives import DPO, LPO, PPO, Clip, Drift
from lopt.types import Key, Level

DRIFTS: dict[str, Drift] = {"ppo": Clip(), "dpo": DPO()}
"""Drifts that have no meta-parameters."""

FLOORS: dict[str, Drift | None] = {"ppo": Clip(), "none": None}

TIMES = {
    "none": objectives.NoTime,
    "fraction": objectives.Fraction,
    "remaining": objectives.RemainingFraction,
    "normalised": objectives.FractionAndLogLifetime,
}


@dataclass(frozen=True)
class DriftConfig:
    """The learned drift.

    Raises:
        ValueError: an unknown name, or a number out of range.
    """

    floor: str = "ppo"
    """What the network is added to: ppo (theta = 0 is PPO) or none (LPO-Zero)."""
    time: str = "none"
    """What multiplies the features once more: none (LPO), fraction (n/N: TA-LPO), remaining ((N-n)/N), normalised
    (n/N, log N)."""
    hidden: int = 128
    """Width of the network (LPO: 128)."""
    xi: float = 1e-4
    """What the network must exceed to count (official code: 1e-4)."""
    init_scale: float = 0.1
    """Standard deviation of the output weights at birth, times the root of `hidden`; theta = 0 is a dead start."""

    def __post_init__(self) -> None:
        choose("floor", self.floor, FLOORS)
        choose("time conditioning", self.time, TIMES)
        at_least(1, self, "hidden", prefix="drift.")
        at_least(0, self, "xi", "init_scale", prefix="drift.")

    def drift(self, lifetimes: Sequence[int]) -> LPO:
        """The drift for agents that live for these numbers of updates."""
        time = conditioning(TIMES[self.time], min(lifetimes), max(lifetimes))
        return LPO(self.hidden, FLOORS[self.floor], self.xi, time, self.init_scale)


@dataclass(frozen=True)
class World:
    """An environment, the life of an agent in it, and what its returns are measured by.

    Attributes:
        name: as on the command line.
        env: the environment.
        levels: distribution of its levels, with the lifetime of the settings.
        settings: of the agents.
        max_steps: no episode is longer.
        scale: a return that counts as good; None where none is known.
    """

    name: str
    env: Any
    levels: Callable[[Key], Level]
    settings: Settings
    max_steps: int
    scale: float | None

    def lifetime(self, drift: Drift, episodes: int) -> PPOLifetime:
        """A PPO agent's life under a drift; its meta-loss is minus its return over `episodes`."""
        s = self.settings
        tanh = partial(MLP, s.hidden, activation=nn.relu if s.relu else nn.tanh, hidden_init=_orthogonal(2**0.5))
        policy = partial(tanh, output_init=_orthogonal(0.01))
        continuous = getattr(self.env, "action_size", None) is not None
        return PPOLifetime(
            env=self.env,
            objective=PPO(drift, s.gamma, s.lam, s.entropy_weight, value_clip=s.bound_on_values),
            policy=partial(GaussianPolicy, policy) if continuous else policy,
            prediction=partial(tanh, output_init=_orthogonal(1.0)),
            optimizer=optax.chain(
                optax.clip_by_global_norm(s.max_norm), optax.adam(s.learning_rate, s.b1, s.b2, eps=1e-5)
            ),
            num_envs=s.num_envs,
            rollout_length=s.rollout_length,
            epochs=MinibatchEpochs(s.epochs, s.num_minibatches),
            anneal=linear_annealing if s.anneal else no_annealing,
            observations=NormaliseObservations() if s.normalise else None,
            rewards=ScaleRewards(s.gamma) if s.normalise else None,
            eval_episodes=episodes,
            eval_steps=self.max_steps,
            tracked_updates=s.num_updates,
        )

    def measure(self, lifetime: PPOLifetime, episodes: int) -> MeanReturn:
        """The mean return of a learner of that lifetime."""
        return MeanReturn(self.env, lifetime.agent.act, episodes, self.max_steps)


def world(name: str, settings: Settings) -> World:
    """The environment of a name with agents of these settings.

    Raises:
        ValueError: an unknown name, or sizes that do not fit (when the lifetime is built).
    """
    env, distribution, max_steps = environment(name)
    known = reference(name)

    def levels(key: Key) -> Level:
        return distribution(key).replace(lifetime=jnp.asarray(settings.num_updates, jnp.int32))

    return World(name, env, levels, settings, max_steps, known.reference if known else None)


def _orthogonal(scale: float) -> nn.initializers.Initializer:
    return nn.initializers.orthogonal(scale)
