"""Configuration of meta-training the optimizer of PPO agents."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optax

from experiments.agents.env_setup import EnvSetup
from experiments.agents.settings import InnerConfig
from experiments.agents.tuning import FITNESS, TuningConfig
from experiments.cli.command_line import Run, choose
from experiments.cli.environments import full_name
from experiments.cli.evolution import ESConfig
from experiments.optimizer.config import RULES, RuleConfig
from lopt import lion
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, multiple, positive

BASELINES: dict[str, Callable[[EnvSetup, Any], optax.GradientTransformation]] = {
    "Adam": lambda setup, rate: setup.adam(rate),
    "Lion": lambda setup, rate: lion(rate),
}
"""Baselines as functions of the agents' setup and the learning rate; Lion has lopt's default constants."""


@dataclass(frozen=True)
class RLTrainingConfig:
    """The environment of meta-training, and what the rule is selected for."""

    task: str = "cartpole"
    """Environment of meta-training: cartpole, acrobot, catch, asterix, breakout, freeway, spaceinvaders, a gymnax name,
    brax/<task> or grid/<level distribution>."""
    fitness: str = "lifetime"
    """Fitness of a rule: final (mean return of es.episodes fresh episodes after the last update; OPEN) or lifetime
    (mean return of the episodes played during training, which has a smaller variance between agents). The baselines are
    tuned for the same number."""


@dataclass(frozen=True)
class RLMetaConfig:
    """The outer loop: evolution strategies over whole lifetimes of agents."""

    num_steps: int = 512
    """Number of meta-steps, also called generations (OPEN: 512)."""
    num_lifetimes: int = 16
    """Number of antithetic pairs of rules per meta-step (OPEN: 32)."""
    learning_rate: float = 3e-2
    """Adam's learning rate for theta (OPEN: 0.03)."""
    final_rate: float = 0.1
    """Fraction of the learning rate that is left at the last meta-step, after a cosine decay."""
    steps_per_chunk: int = 1
    """Number of meta-steps per compiled call. Metrics are logged and signals are handled once per call."""


@dataclass(frozen=True)
class RLEvalConfig(TuningConfig):
    """Meta-testing: agents trained from scratch by the learned optimizer, which is not tuned, and by tuned baselines.

    Raises:
        ValueError: a number out of range, or a smallest rate that is not below the largest.
    """

    every: int = 64
    """Number of meta-steps between points of the validation curve, a multiple of meta.steps-per-chunk."""
    envs: tuple[str, ...] = ()
    """Further environments of the final table, in which the optimizer was not trained."""


@dataclass(frozen=True)
class RLStudyConfig:
    """Meta-trains the optimizer of PPO agents by evolution strategies in one environment, and compares it with Adam and
    Lion, whose learning rates are tuned. The gradient is clipped to inner.max-norm in front of every optimizer.

    Raises:
        ValueError: an unknown name, a number out of range, sizes that do not fit together, or a learning rate or
            annealing of the agents, which are tuned.
    """

    run: Run = RunConfig(out="runs/learned_optimizer_rl")
    training: RLTrainingConfig = field(default_factory=RLTrainingConfig)
    rule: RuleConfig = field(default_factory=lambda: RuleConfig(name="open"))
    inner: InnerConfig = field(default_factory=InnerConfig)
    meta: RLMetaConfig = field(default_factory=RLMetaConfig)
    es: ESConfig = field(default_factory=lambda: ESConfig(std=0.03, shaping="rank"))
    eval: RLEvalConfig = field(default_factory=RLEvalConfig)

    def __post_init__(self) -> None:
        choose("rule", self.rule.name, RULES, extensible=True)
        choose("fitness", self.training.fitness, dict.fromkeys(FITNESS))
        for name in ("learning_rate", "anneal"):
            if getattr(self.inner, name) is not None:
                option = f"inner.{name.replace('_', '-')}"
                raise ValueError(f"{option} must not be given: the baselines are tuned (eval.rates), the rule has none")
        self.es.check(self.meta.num_lifetimes)
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        multiple(self, "eval.every", of="meta.steps_per_chunk")
        at_least(1, self, "meta.num_lifetimes")
        positive(self, "rule.step_size", "rule.exponent", "meta.learning_rate")
        at_least(0, self, "meta.final_rate")

    @property
    def envs(self) -> tuple[str, ...]:
        """Full names of the environments of the final table, that of meta-training first."""
        return tuple(dict.fromkeys(map(full_name, (self.training.task, *self.eval.envs))))


QUICK = RLStudyConfig(
    inner=InnerConfig(num_envs=16, rollout_length=32, total_steps=20_480, epochs=4, num_minibatches=4, hidden=(16, 16)),
    meta=RLMetaConfig(num_steps=64, steps_per_chunk=2),
    es=ESConfig(std=0.03, shaping="rank", episodes=16),
    eval=RLEvalConfig(every=16),
)
"""Small networks and 640 optimizer steps in a lifetime."""

PAPER = RLStudyConfig(
    training=RLTrainingConfig(task="breakout", fitness="final"),
    rule=RuleConfig(name="open", step_size=1e-3, exponent=1e-3),
    meta=RLMetaConfig(num_lifetimes=32),
)

PRESETS = {"quick": QUICK, "paper": PAPER}
