"""Configuration of meta-training drifts."""

from dataclasses import dataclass, field, replace

from experiments.agents.settings import InnerConfig
from experiments.agents.tuning import FITNESS, TuningConfig
from experiments.cli.command_line import Run, choose
from experiments.cli.evolution import PAIRS, ESConfig
from experiments.drift.build import DriftConfig
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, multiple, positive

ESTIMATORS = ("es", "pes")


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    estimator: str = "es"
    """Estimator of the gradient in theta: es (evolution strategies over whole lifetimes) or pes (persistent evolution
    strategies, by pairs: the fitness is measured, and theta changes, after every meta.num-updates updates)."""
    num_updates: int = 10
    """Number K of the agents' updates per meta-step; not used by es, whose meta-steps last a lifetime."""
    num_steps: int = 1024
    """Number of meta-steps, also called generations (LPO: 1025; arXiv 2507.17668: 800). With 0 the initial drift is
    tested, beside PPO and DPO with their tuned settings."""
    num_lifetimes: int = 16
    """Number of antithetic pairs of drifts per meta-step (LPO: 16)."""
    learning_rate: float = 1e-2
    """Adam's learning rate for theta (LPO: 1e-2; arXiv 2507.17668: 3e-2)."""
    final_rate: float = 0.1
    """Fraction of the learning rate that is left at the last meta-step, after a cosine decay."""
    fitness: str = "final"
    """Fitness of a drift: final (mean return of es.episodes fresh episodes after the last update; LPO) or lifetime
    (mean return of the episodes played during training, which has a smaller variance between agents)."""
    steps_per_chunk: int = 1
    """Number of meta-steps per compiled call. Metrics are logged and signals are handled once per call."""


@dataclass(frozen=True)
class EvalConfig(TuningConfig):
    """Meta-testing: agents trained from scratch under the learned drift, PPO and DPO; each drift is tuned alike.

    Raises:
        ValueError: a number out of range, or a smallest rate that is not below the largest.
    """

    epochs: tuple[int, ...] = ()
    """Numbers of epochs over which every drift is tuned, in addition to inner.epochs."""
    clips: tuple[float, ...] = ()
    """Clipping ranges over which PPO is tuned, in addition to 0.2; the other drifts have nothing of the kind."""
    every: int = 100
    """Number of meta-steps between points of the validation curve, a multiple of meta.steps-per-chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "epochs", prefix="eval.")
        positive(self, "clips", prefix="eval.")


@dataclass(frozen=True)
class DriftStudyConfig:
    """Meta-trains the drift of a PPO agent by evolution strategies, and compares it with PPO and DPO.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/lpo")
    envs: tuple[str, ...] = ("CartPole-v1",)
    """Environments of meta-training: gymnax names, brax/<task>, grid/<level distribution>. With several, the fitness is
    the mean of the returns, each divided by the environment's reference return."""
    test_envs: tuple[str, ...] = ()
    """Further environments of the final table, on which the drift was not trained."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    es: ESConfig = field(default_factory=lambda: ESConfig(std=0.04, b1=0.99))
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if not self.envs:
            raise ValueError("envs must name at least one environment (got none)")
        choose("fitness", self.meta.fitness, dict.fromkeys(FITNESS))
        choose("estimator", self.meta.estimator, dict.fromkeys(ESTIMATORS))
        if self.meta.estimator == "pes" and self.es.strategy != PAIRS:
            raise ValueError(f"es.strategy must be {PAIRS} with meta.estimator pes (got {self.es.strategy})")
        self.es.check(self.meta.num_lifetimes)
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk, smallest=0)
        multiple(self, "eval.every", of="meta.steps_per_chunk")
        at_least(1, self, "meta.num_lifetimes", "meta.num_updates")
        positive(self, "meta.learning_rate")
        at_least(0, self, "meta.final_rate")


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
    """Drifts that are compared: ppo, dpo, shipped drifts (lpo-cartpole), rule files of learned drifts (runs/lpo/rule),
    or import paths of objects or classes (mypackage.MyDrift), whose meta-parameters are the initial ones."""
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


PPO_PRESETS = {"published": PPOConfig()}
"""Options of the agents that are not given are as published for the environment."""

QUICK = DriftStudyConfig(
    envs=("CartPole-v1",),
    test_envs=("Acrobot-v1",),
    drift=DriftConfig(base_drift="none"),
    inner=InnerConfig(
        num_envs=16,
        rollout_length=32,
        total_steps=10_240,
        epochs=16,
        num_minibatches=2,
        learning_rate=1e-2,
        hidden=(32, 32),
    ),
    meta=MetaConfig(num_steps=60, num_lifetimes=16, learning_rate=2e-2, fitness="lifetime", steps_per_chunk=5),
    es=ESConfig(std=0.05, shaping="rank", episodes=16),
    eval=EvalConfig(seeds=32, episodes=32, every=20),
)
"""Short lifetimes with many epochs and a large learning rate, in which the drift has a large effect; f_0 is zero."""

TA = replace(QUICK, drift=DriftConfig(base_drift="none", time="fraction"))

PAPER = DriftStudyConfig(
    envs=("brax/ant",),
    test_envs=("brax/humanoid", "brax/walker2d", "brax/hopper"),
    es=ESConfig(std=0.04, shaping="zscore", episodes=128),
)

PRESETS = {"quick": QUICK, "ta": TA, "paper": PAPER}
