"""Published settings of PPO by environment, and the options that override them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from lopt.training.checks import at_least, between, positive


@dataclass(frozen=True)
class Settings:
    """Settings of a PPO agent's lifetime; `InnerConfig` explains them. The defaults are those of CartPole.

    `value_clip` is 0 where the value loss is not clipped.

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
    def value_clip_or_none(self) -> float | None:
        """`value_clip`, with None for 0 as `lopt.objectives.PPO` takes it."""
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
        """N, the number of updates in a lifetime: one per rollout."""
        return self.total_steps // (self.num_envs * self.rollout_length)


def check_numbers(settings: Any) -> None:
    """Check the range of every number of `Settings` or `InnerConfig`.

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
    sizes: dict[str, Any] = {"num_envs": 64, "total_steps": 10_000_000, "num_minibatches": 8, "relu": True}
    return Settings(learning_rate=learning_rate, b2=b2, **sizes)


def _brax(learning_rate: float, b1: float, b2: float) -> Settings:
    sizes: dict[str, Any] = {"num_envs": 2048, "rollout_length": 10, "total_steps": 30_000_000, "num_minibatches": 32}
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
"""Settings by environment. Other MinAtar games get those of Asterix, other environments those of CartPole."""


@dataclass(frozen=True)
class InnerConfig:
    """Training of the PPO agents. Options that are not given are as published for the environment (arXiv 2507.17668).

    Raises:
        ValueError: a number out of range.
    """

    num_envs: int | None = None
    """Number of parallel environments per agent; by default as published for the environment."""
    rollout_length: int | None = None
    """Number of environment steps per update in each parallel environment; by default as published."""
    total_steps: int | None = None
    """Number of environment steps in a lifetime, over all parallel environments; by default as published."""
    epochs: int | None = None
    """Number of passes over each rollout; by default as published."""
    num_minibatches: int | None = None
    """Number of minibatches per pass over a rollout, with one optimizer step each; by default as published."""
    learning_rate: float | None = None
    """Adam's learning rate for the agents; by default as published."""
    b1: float | None = None
    """Adam's decay rate b1 of the first moment; by default as published."""
    b2: float | None = None
    """Adam's decay rate b2 of the second moment; by default as published."""
    max_norm: float | None = None
    """Norm at which the agents' gradients are clipped; by default 0.5, as published."""
    entropy_weight: float | None = None
    """Weight of the entropy bonus in the agents' loss; by default as published."""
    gamma: float | None = None
    """Discount factor; by default 0.99, as published."""
    lam: float | None = None
    """Lambda of generalised advantage estimation; by default 0.95, as published."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers of the policy and of the value network; by default 64 64, as published."""
    relu: bool | None = None
    """Whether the activation is ReLU instead of tanh; by default as published."""
    anneal: bool | None = None
    """Whether the learning rate decays linearly to zero; by default it does, as published."""
    normalise: bool | None = None
    """Whether observations are normalised and rewards scaled by running statistics; by default as published."""
    value_clip: float | None = None
    """Clipping range of the value loss around the value at the time of the rollout, in units of the return; 0 turns
    clipping off. By default 0.2 on Brax, where rewards are scaled, and 0 elsewhere."""

    def __post_init__(self) -> None:
        check_numbers(self)

    def settings(self, env: str) -> Settings:
        """The published settings of an environment, overridden by the options that are given."""
        given = {k: v for k, v in vars(self).items() if v is not None}
        other = PUBLISHED["Asterix-MinAtar"] if env.endswith("MinAtar") else PUBLISHED["CartPole-v1"]
        return dataclasses.replace(PUBLISHED.get(env, other), **given)
