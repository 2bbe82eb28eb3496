"""The configuration of training agents under drifts."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least
from experiments.common.config import Run, RunConfig
from experiments.mirror.settings import InnerConfig


@dataclass(frozen=True)
class PPOConfig:
    """Trains agents in an environment under one or several drifts and measures them.

    Raises:
        ValueError: nothing to train, or a number out of range.
    """

    run: Run = RunConfig(out="runs/ppo")
    env: str = "CartPole-v1"
    """A gymnax name, brax/<task> or grid/<level distribution>."""
    drifts: tuple[str, ...] = ("ppo",)
    """ppo, dpo, or rule files of learned drifts (runs/lpo/rule)."""
    seeds: int = 4
    """Agents per drift, side by side."""
    inner: InnerConfig = field(default_factory=InnerConfig)
    episodes: int = 128
    """Episodes that measure an agent at the end."""
    updates_per_chunk: int = 1
    """Updates per compiled call: how often metrics are logged and signals are seen."""

    def __post_init__(self) -> None:
        if not self.drifts:
            raise ValueError("drifts must name at least one drift (got none)")
        at_least(1, self, "seeds", "episodes", "updates_per_chunk")


PRESETS = {"published": PPOConfig()}
"""What is not given is as published for the environment."""
