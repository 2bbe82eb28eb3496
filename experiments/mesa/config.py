"""The configuration of the study; every field says its unit and where its value comes from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.common.checks import at_least, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.common.loop import check_sizes
from lopt.tasks import ConstantStart, GaussianStart, SignStart, SparseStart, Start

STARTS: dict[str, Callable[[float], Start]] = {
    "gaussian": GaussianStart,
    "sparse": SparseStart,
    "ones": ConstantStart,
    "signs": SignStart,
}
CLIPPED = " clipped"


@dataclass(frozen=True)
class RotationsConfig:
    """Causal linear attention that continues rotating sequences (arXiv 2405.16845)."""

    starts: tuple[str, ...] = ("gaussian", "sparse", "ones")
    """Distributions of x_1: gaussian, sparse, ones, signs. All ones is trained twice: once with the entries beside the
    diagonals held at zero."""
    scale: float = 1.0
    """Standard deviation or size of a coordinate of x_1 (paper: 0.5, 1, 2)."""
    dimensions: int = 5
    """d (paper: 5)."""
    length: int = 100
    """T (paper: 100)."""
    inits: tuple[tuple[float, float], ...] = ((0.1, 0.1), (0.5, 1.5), (2.0, 2.0))
    """a and b at birth (paper: these)."""
    replicas: int = 4
    """Trainings on different sequences, side by side, over which intervals are taken."""
    batch: int = 32
    """Fresh sequences per step and replica (paper: 10 000 that stay the same, and gradient descent on all of them)."""
    rate: float = 0.1
    """Step size at the start, in units of one over the curvature at the present a and b, or at the end if that is
    larger; falls to zero (cosine)."""


@dataclass(frozen=True)
class FewShotConfig:
    """Linear attention on small regressions (arXiv 2212.07677)."""

    dimensions: int = 10
    """d (paper: 10)."""
    examples: int = 10
    """N (paper: 10)."""
    width: float = 1.0
    """x is uniform between minus and plus half of this (paper's code: 1)."""
    batch: int = 512
    """Fresh regressions per step (paper: 2048)."""
    learning_rate: float = 1e-2
    """Adam's, falling to zero (paper: 1e-3)."""
    updates: int = 2
    """Updates per step of the run."""


@dataclass(frozen=True)
class SystemsConfig:
    """One layer of linear attention and one mesa-layer that continue a linear system (arXiv 2309.05858)."""

    dimensions: int = 5
    """d (paper: 10)."""
    length: int = 30
    """T (paper: 50)."""
    noise: float = 0.01
    """Standard deviation of a step's noise (paper: 0.01)."""
    batch: int = 32
    """Fresh sequences per step (paper: 256)."""
    learning_rate: float = 1e-2
    """Adam's, falling to zero (paper: 3e-4, for the mesa-layer 4e-4)."""
    updates: int = 6
    """Updates per step of the run."""


@dataclass(frozen=True)
class MesaConfig:
    """Trains single layers whose end is known in closed form, and writes a table of theory against measurement.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/mesa")
    rotations: RotationsConfig = field(default_factory=RotationsConfig)
    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    systems: SystemsConfig = field(default_factory=SystemsConfig)
    num_steps: int = 300
    """Steps of training, of all models at once."""
    steps_per_chunk: int = 25
    """Steps per compiled call: how often metrics are logged and signals are seen."""
    flow_steps: int = 100
    """Runge-Kutta steps of the exact gradient flow, of half of one over the curvature each."""
    test_sequences: int = 8192
    """Fresh sequences that measure the trained models."""

    def __post_init__(self) -> None:
        check_sizes(self.num_steps, self.steps_per_chunk)
        for name in self.rotations.starts:
            choose("start", name, STARTS)
        if not self.rotations.inits or any(len(pair) != 2 or min(pair) <= 0 for pair in self.rotations.inits):
            raise ValueError(f"rotations.inits must be pairs of positive numbers (got {self.rotations.inits})")
        at_least(2, self, "rotations.replicas", "test_sequences")
        at_least(1, self, "flow_steps", "few_shot.examples", "few_shot.updates", "systems.updates")
        for part in ("rotations", "few_shot", "systems"):
            at_least(1, self, f"{part}.dimensions", f"{part}.batch")
        at_least(2, self, "rotations.length", "systems.length")
        positive(self, "rotations.scale", "rotations.rate", "few_shot.width")
        positive(self, "few_shot.learning_rate", "systems.learning_rate")
        at_least(0, self, "systems.noise")


QUICK = MesaConfig()
PAPER = MesaConfig(
    rotations=RotationsConfig(starts=("gaussian", "sparse", "ones", "signs"), replicas=8, batch=128, rate=0.05),
    few_shot=FewShotConfig(batch=2048, learning_rate=1e-3, updates=1),
    systems=SystemsConfig(dimensions=10, length=50, batch=256, learning_rate=1e-3),
    num_steps=5000,
    test_sequences=65_536,
)
PRESETS = {"quick": QUICK, "paper": PAPER}
