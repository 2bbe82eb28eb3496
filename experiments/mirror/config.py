"""The configuration of meta-training drifts; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.common.evolution import ESConfig
from experiments.common.loop import check_sizes
from experiments.mirror.build import DriftConfig
from experiments.mirror.settings import InnerConfig

FITNESS = ("final", "life")


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    num_steps: int = 1024
    """Meta-steps: generations (LPO: 1025; arXiv 2507.17668: 800)."""
    num_lifetimes: int = 16
    """Pairs of drifts (LPO: 16)."""
    learning_rate: float = 1e-2
    """Adam's learning rate for the drift (LPO: 1e-2; arXiv 2507.17668: 3e-2)."""
    final_rate: float = 0.1
    """The learning rate falls to this fraction of itself (cosine)."""
    fitness: str = "final"
    """final: the return of es.episodes fresh episodes at the end of a life (LPO); life: the mean return of the episodes
    on the way, which tells drifts apart by fewer lives."""
    steps_per_chunk: int = 1
    """Meta-steps per compiled call: how often metrics are logged and signals are seen."""


@dataclass(frozen=True)
class EvalConfig:
    """The comparison at the end: agents trained from scratch under the drift, and under PPO and DPO."""

    seeds: int = 16
    """Agents per drift and environment."""
    episodes: int = 64
    """Episodes that measure an agent."""
    every: int = 100
    """Meta-steps between measurements of the mean drift for the learning curve."""


@dataclass(frozen=True)
class MirrorConfig:
    """Meta-trains the drift of a PPO agent by evolution strategies, and compares it with PPO and DPO.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/lpo")
    envs: tuple[str, ...] = ("CartPole-v1",)
    """Environments whose returns are the fitness: gymnax names, brax/<task>, grid/<level distribution>. Several are
    weighed by their reference returns."""
    test_envs: tuple[str, ...] = ()
    """Environments of the final table that the drift was not trained on."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    es: ESConfig = field(default_factory=lambda: ESConfig(std=0.04, b1=0.99))
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if not self.envs:
            raise ValueError("envs must name at least one environment (got none)")
        choose("fitness", self.meta.fitness, dict.fromkeys(FITNESS))
        self.es.check(self.meta.num_lifetimes)
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        if self.eval.every < 1 or self.eval.every % self.meta.steps_per_chunk:
            raise ValueError(
                f"eval.every must be a multiple of meta.steps-per-chunk (got {self.eval.every} and "
                f"{self.meta.steps_per_chunk})"
            )
        at_least(1, self, "meta.num_lifetimes", "eval.seeds", "eval.episodes")
        positive(self, "meta.learning_rate")
        at_least(0, self, "meta.final_rate")
