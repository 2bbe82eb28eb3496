"""PPO's settings, environment by environment, as published."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from experiments.common.checks import at_least, between, positive


@dataclass(frozen=True)
class Settings:
    """A whole life of a PPO agent. The defaults are those of CartPole.

    Raises:
        ValueError: a number out of range, or fewer steps than one rollout.

    Paper: arXiv 2507.17668, appendix (values: the code of AlexGoldie/learn-rl-algorithms).
    """

    num_envs: int = 4
    rollout_length: int = 128
    total_steps: int = 500_000
    epochs: int = 4
    num_minibatches: int = 4
    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    max_norm: float = 0.5
    entropy_weight: float = 0.01
    gamma: float = 0.99
    lam: float = 0.95
    hidden: tuple[int, ...] = (64, 64)
    relu: bool = False
    anneal: bool = True
    normalise: bool = False
    value_clip: float = 0.0

    @property
    def bound_on_values(self) -> float | None:
        """`value_clip` as `PPO` takes it."""
        return self.value_clip or None

    def __post_init__(self) -> None:
        check_numbers(self)
        rollout = self.num_envs * self.rollout_length
        if self.total_steps < rollout:
            raise ValueError(
                f"inner.total-steps must be at least one rollout of inner.num-envs x inner.rollout-length = {rollout} "
                f"steps (got {self.total_steps})"
            )

    @property
    def num_updates(self) -> int:
        """N: rollouts in a life."""
        return self.total_steps // (self.num_envs * self.rollout_length)


def check_numbers(settings: Any) -> None:
    """Check the numbers of `Settings` or `InnerConfig`, each alone.

    Raises:
        ValueError: one is out of range.
    """
    at_least(1, settings, "num_envs", "rollout_length", "total_steps", "epochs", "num_minibatches", prefix="inner.")
    at_least(1, settings, "hidden", prefix="inner.")
    positive(settings, "learning_rate", prefix="inner.")
    positive(settings, "max_norm", prefix="inner.", infinite=True)
    at_least(0, settings, "entropy_weight", "value_clip", prefix="inner.")
    between(0, 1, settings, "gamma", "lam", prefix="inner.")
    between(0, 1, settings, "b1", "b2", prefix="inner.", below=True)


def _minatar(learning_rate: float, b2: float) -> Settings:
    sizes = {"num_envs": 64, "total_steps": 10_000_000, "num_minibatches": 8, "relu": True}
    return Settings(learning_rate=learning_rate, b2=b2, **sizes)


def _brax(learning_rate: float, b1: float, b2: float) -> Settings:
    sizes = {"num_envs": 2048, "rollout_length": 10, "total_steps": 30_000_000, "num_minibatches": 32}
    return Settings(
        learning_rate=learning_rate, b1=b1, b2=b2, entropy_weight=0.0, normalise=True, value_clip=0.2, **sizes
    )


PUBLISHED = {
    "CartPole-v1": Settings(),
    "Asterix-MinAtar": _minatar(3e-3, 0.999),
    "Breakout-MinAtar": _minatar(1e-2, 0.99),
    "Freeway-MinAtar": _minatar(1e-3, 0.99),
    "SpaceInvaders-MinAtar": _minatar(7e-3, 0.99),
    "brax/ant": _brax(3e-4, 0.99, 0.99),
    "brax/humanoid": _brax(3e-4, 0.9, 0.999),
    "brax/walker2d": _brax(1e-3, 0.9, 0.999),
    "brax/hopper": _brax(8e-4, 0.9, 0.999),
}
"""By environment; others start from CartPole's (MinAtar's for the other MinAtar games)."""


@dataclass(frozen=True)
class InnerConfig:
    """The agents' own training. What is not given is as published for the environment (arXiv 2507.17668).

    Raises:
        ValueError: a number out of range.
    """

    num_envs: int | None = None
    """Environments an agent plays side by side."""
    rollout_length: int | None = None
    """Steps per update in each of them."""
    total_steps: int | None = None
    """Environment steps of a whole life."""
    epochs: int | None = None
    """Passes over each rollout."""
    num_minibatches: int | None = None
    """Parts of a rollout, one optimizer step each."""
    learning_rate: float | None = None
    """Adam's."""
    b1: float | None = None
    """Adam's."""
    b2: float | None = None
    """Adam's."""
    max_norm: float | None = None
    """Gradient norm at which updates are clipped."""
    entropy_weight: float | None = None
    """Weight of the entropy bonus."""
    gamma: float | None = None
    """Discount factor."""
    lam: float | None = None
    """GAE's lambda."""
    hidden: tuple[int, ...] | None = None
    """Widths of both networks' hidden layers."""
    relu: bool | None = None
    """ReLU, or else tanh."""
    anneal: bool | None = None
    """Whether the learning rate falls linearly to zero."""
    normalise: bool | None = None
    """Whether observations and rewards are brought to order one by running statistics."""
    value_clip: float | None = None
    """How far a value may move from what it was when the rollout was played before moving it further earns nothing, in
    units of the return; 0 for no bound. 0.2 on Brax, where rewards are normalised; 0 elsewhere."""

    def __post_init__(self) -> None:
        check_numbers(self)

    def settings(self, env: str) -> Settings:
        """The published settings of an environment with what is given here put in."""
        given = {k: v for k, v in vars(self).items() if v is not None}
        other = PUBLISHED["Asterix-MinAtar"] if env.endswith("MinAtar") else PUBLISHED["CartPole-v1"]
        return dataclasses.replace(PUBLISHED.get(env, other), **given)
