"""Construction of drifts, and of lifetimes of PPO agents under them, from names and settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.cli.command_line import choose, instantiate
from experiments.cli.conditioning import conditioning
from experiments.cli.environments import environment, reference
from experiments.drift.settings import Settings
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
from lopt.training.checks import at_least
from lopt.types import Key, Level

BASE_DRIFTS: dict[str, Drift | None] = {"ppo": Clip(), "none": None}
"""Drifts to which the network of a learned drift is added."""

DRIFTS: dict[str, Drift] = {"ppo": Clip(), "dpo": DPO()}
"""Drifts without meta-parameters, the baselines."""

LEARNED: dict[str, Callable[..., Drift]] = {"lpo": LPO}
"""Classes of learned drifts; those other than LPO have no options."""

TIMES = {
    "none": objectives.NoTime,
    "fraction": objectives.Fraction,
    "remaining": objectives.RemainingFraction,
    "normalised": objectives.FractionAndLogNumUpdates,
}


@dataclass(frozen=True)
class DriftConfig:
    """The learned drift; that of LPO is f(r, A) = ReLU(f_0(r, A) + network(r, A) - xi).

    Raises:
        ValueError: an unknown name, or a number out of range.
    """

    name: str = "lpo"
    """Learned drift: lpo, to which the other options of the drift belong; or the import path of an object or class, for
    example mypackage.MyDrift (its contract is lopt.objectives.Drift)."""
    base_drift: str = "ppo"
    """Base drift f_0 to which the network is added: ppo (theta = 0 is PPO up to xi) or none (f_0 = 0, LPO-Zero)."""
    time: str = "none"
    """Time inputs after n of N updates, by which the features of r and A are multiplied: none (LPO), fraction (n/N;
    TA-LPO), remaining ((N-n)/N) or normalised (n/N and log N)."""
    hidden: int = 128
    """Width of the hidden layer of the network (LPO: 128)."""
    xi: float = 1e-4
    """Threshold xi that is subtracted before the ReLU (official code: 1e-4). Its size sets the width of the interval
    around r = 1 in which the drift is zero."""
    init_scale: float = 0.1
    """Standard deviation of the initial output weights, times the square root of drift.hidden. It must not be 0:
    antithetic pairs around theta = 0 have equal fitness."""

    def __post_init__(self) -> None:
        choose("drift", self.name, LEARNED, extensible=True)
        choose("base drift", self.base_drift, BASE_DRIFTS)
        choose("time conditioning", self.time, TIMES)
        at_least(1, self, "hidden", prefix="drift.")
        at_least(0, self, "xi", "init_scale", prefix="drift.")

    def drift(self, lifetimes: Sequence[int]) -> Drift:
        """The drift for agents with these numbers of updates in a lifetime, which set the scale of log N.

        Raises:
            ValueError: an import path of something else than a drift.
        """
        if self.name != "lpo":
            return make_drift(self.name)
        time = conditioning(TIMES[self.time], min(lifetimes), max(lifetimes))
        return LPO(
            hidden=self.hidden,
            base_drift=BASE_DRIFTS[self.base_drift],
            xi=self.xi,
            conditioning=time,
            init_scale=self.init_scale,
        )


def make_drift(name: str) -> Drift:
    """A learned drift by its name or import path: an object, or a class or function without arguments.

    Raises:
        ValueError: an unknown name, a path that cannot be imported, or something else than a drift.
    """
    drift = instantiate(choose("drift", name, LEARNED, extensible=True))
    if not isinstance(drift, Drift):
        raise ValueError(
            f"drift: {name} is no drift (got {drift!r}; a drift has time_aware, init and __call__, as "
            "lopt.objectives.Drift says)"
        )
    return drift


@dataclass(frozen=True)
class EnvSetup:
    """An environment with the settings of the PPO agents that are trained in it.

    Attributes:
        name: as on the command line.
        env: the environment.
        levels: distribution of its levels, `key -> Level`, with the number of updates of the settings.
        settings: of the agents.
        max_steps: bound on the length of an episode, in environment steps.
        scale: reference return, to weigh environments against each other; None where none is known.
    """

    name: str
    env: Any
    levels: Callable[[Key], Level]
    settings: Settings
    max_steps: int
    scale: float | None

    def lifetime(self, drift: Drift, episodes: int) -> PPOLifetime:
        """The lifetime of a PPO agent under a drift; its meta-loss is minus its mean return over `episodes`."""
        s = self.settings
        tanh = partial(MLP, s.hidden, activation=nn.relu if s.relu else nn.tanh, hidden_init=_orthogonal(2**0.5))
        policy = partial(tanh, output_init=_orthogonal(0.01))
        continuous = getattr(self.env, "action_size", None) is not None
        return PPOLifetime(
            env=self.env,
            objective=PPO(
                drift=drift, gamma=s.gamma, lam=s.lam, entropy_weight=s.entropy_weight, value_clip=s.value_clip_or_none
            ),
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
            rewards=ScaleRewards(gamma=s.gamma) if s.normalise else None,
            eval_episodes=episodes,
            eval_steps=self.max_steps,
            tracked_updates=s.num_updates,
        )

    def evaluator(self, lifetime: PPOLifetime, episodes: int) -> MeanReturn:
        """`(key, level, learner) -> mean return` over fresh episodes for learners of that lifetime."""
        return MeanReturn(env=self.env, policy=lifetime.agent.act, num_episodes=episodes, max_steps=self.max_steps)


def env_setup(name: str, settings: Settings) -> EnvSetup:
    """The setup of an environment by its name on the command line.

    Raises:
        ValueError: an unknown name.
        ImportError: a Brax task, and Brax is not installed.
    """
    env, distribution, max_steps = environment(name)
    returns = reference(name)

    def levels(key: Key) -> Level:
        return distribution(key).replace(num_updates=jnp.asarray(settings.num_updates, jnp.int32))

    return EnvSetup(name, env, levels, settings, max_steps, returns.reference if returns else None)


def _orthogonal(scale: float) -> nn.initializers.Initializer:
    return nn.initializers.orthogonal(scale)
