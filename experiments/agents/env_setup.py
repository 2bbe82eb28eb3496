"""An environment with the settings of the PPO agents that are trained in it, and their lifetimes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.agents.settings import Settings
from experiments.cli.environments import environment, reference
from lopt.agents import (
    MeanReturn,
    MinibatchEpochs,
    NormaliseObservations,
    PPOLifetime,
    ScaleRewards,
    linear_annealing,
    no_annealing,
)
from lopt.nets import MLP, GaussianPolicy, orthogonal
from lopt.objectives import PPO, Drift
from lopt.types import Key, Level


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

    @property
    def steps(self) -> int:
        """Environment steps of an update."""
        return self.settings.num_envs * self.settings.rollout_length

    def lifetime(
        self,
        drift: Drift,
        episodes: int,
        optimizer: optax.GradientTransformation | None = None,
        anneal: bool | None = None,
    ) -> PPOLifetime:
        """The lifetime of a PPO agent under a drift; its meta-loss is minus its mean return over `episodes`.

        Args:
            drift: the drift.
            episodes: number of fresh episodes of the meta-loss.
            optimizer: of the agent, behind the clipping of the gradient's norm; None for Adam with the settings' rate.
            anneal: whether the optimizer's steps decay linearly to zero; None for what the settings say.
        """
        s = self.settings
        tanh = partial(MLP, s.hidden, activation=nn.relu if s.relu else nn.tanh, hidden_init=orthogonal(2**0.5))
        policy = partial(tanh, output_init=orthogonal(0.01))
        continuous = getattr(self.env, "action_size", None) is not None
        return PPOLifetime(
            env=self.env,
            objective=PPO(
                drift=drift, gamma=s.gamma, lam=s.lam, entropy_weight=s.entropy_weight, value_clip=s.value_clip_or_none
            ),
            policy=partial(GaussianPolicy, policy) if continuous else policy,
            prediction=partial(tanh, output_init=orthogonal(1.0)),
            optimizer=optax.chain(
                optax.clip_by_global_norm(s.max_norm), self.adam(s.learning_rate) if optimizer is None else optimizer
            ),
            num_envs=s.num_envs,
            rollout_length=s.rollout_length,
            epochs=MinibatchEpochs(s.epochs, s.num_minibatches),
            anneal=linear_annealing if (s.anneal if anneal is None else anneal) else no_annealing,
            observations=NormaliseObservations() if s.normalise else None,
            rewards=ScaleRewards(gamma=s.gamma) if s.normalise else None,
            eval_episodes=episodes,
            eval_steps=self.max_steps,
            tracked_updates=s.num_updates,
        )

    def adam(self, learning_rate: Any) -> optax.GradientTransformation:
        """Adam with the other settings of these agents."""
        return optax.adam(learning_rate, self.settings.b1, self.settings.b2, eps=1e-5)

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
