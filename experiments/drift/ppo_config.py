"""Configuration of training agents under drifts."""

from dataclasses import dataclass, field

from experiments.cli.checks import at_least
from experiments.cli.command_line import Run
from experiments.drift.settings import InnerConfig
from lopt.training import RunConfig


@dataclass(frozen=True)
class PPOConfig:
    """Trains agents in an environment under one or several drifts, and evaluates them.

    Raises:
        ValueError: no drift, or a number out of range.
    """

    run: Run = RunConfig(out="runs/ppo")
    env: str = "CartPole-v1"
    """Environment: a gymnax name, brax/<task> or grid/<level distribution>."""
    drifts: tuple[str, ...] = ("ppo",)
    """Drifts that are compared: ppo, dpo, rule files of learned drifts (runs/lpo/rule), or import paths of objects or
    classes (mypackage.MyDrift), whose meta-parameters are the initial ones."""
    seeds: int = 4
    """Number of agents per drift, trained side by side."""
    inner: InnerConfig = field(default_factory=InnerConfig)
    episodes: int = 128
    """Number of episodes in which an agent is evaluated after the last update."""
    updates_per_chunk: int = 1
    """Number of agent updates per compiled call, lowered to a divisor of the updates in a lifetime. Metrics are logged
    and signals are handled once per call."""

    def __post_init__(self) -> None:
        if not self.drifts:
            raise ValueError("drifts must name at least one drift (got none)")
        at_least(1, self, "seeds", "episodes", "updates_per_chunk")


PRESETS = {"published": PPOConfig()}
"""Options of the agents that are not given are as published for the environment."""
