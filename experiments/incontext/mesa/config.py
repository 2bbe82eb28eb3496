"""Configuration of the mesa-optimisation study; every option states its unit and the source of its default."""

from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from lopt.tasks import ConstantInitial, GaussianInitial, InitialDistribution, SignInitial, SparseInitial
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, positive

INITIALS: dict[str, Callable[[float], InitialDistribution]] = {
    "gaussian": GaussianInitial,
    "sparse": SparseInitial,
    "ones": ConstantInitial,
    "signs": SignInitial,
}
"""Distributions of x_1 by name, from their scale."""
MASKED = " masked"
"""Suffix of the variant of which gradients of off-diagonal entries are masked."""


@dataclass(frozen=True)
class DiagonalUnitaryARConfig:
    """Causal linear attention on diagonal unitary autoregressive sequences (arXiv 2405.16845)."""

    initials: tuple[str, ...] = ("gaussian", "sparse", "ones")
    """Distributions of the initial token x_1: gaussian, sparse, ones or signs. For ones a second model is trained with
    masked gradients, so that the off-diagonal entries of its weights stay zero."""
    scale: float = 1.0
    """Standard deviation or absolute value of a coordinate of x_1 (paper: 0.5, 1 and 2)."""
    dimensions: int = 5
    """Dimension d of a token (paper: 5)."""
    length: int = 100
    """Length T of a sequence, in tokens (paper: 100)."""
    initial_weights: tuple[tuple[float, float], ...] = ((0.1, 0.1), (0.5, 1.5), (2.0, 2.0))
    """Initial values of the weights a and b; one model is trained from each pair (paper: the same)."""
    replicas: int = 4
    """Number of models per pair, trained on different sequences, for the confidence intervals."""
    batch: int = 32
    """New sequences per step and replica (paper: gradient descent on a fixed set of 10 000)."""
    step_size: float = 0.1
    """Initial step size of gradient descent, as a multiple of the inverse curvature at the current a and b or at their
    limit, whichever curvature is larger; cosine decay to zero."""


@dataclass(frozen=True)
class FewShotConfig:
    """Linear attention on few-shot linear regression (arXiv 2212.07677)."""

    dimensions: int = 10
    """Dimension d of an input (paper: 10)."""
    examples: int = 10
    """Examples N in the context of a query (paper: 10)."""
    width: float = 1.0
    """Width of the interval around zero on which inputs are uniform (paper's code: 1)."""
    batch: int = 512
    """New regression tasks per update (paper: 2048)."""
    learning_rate: float = 1e-2
    """Initial learning rate of Adam, with cosine decay to zero (paper: 1e-3)."""
    updates: int = 2
    """Updates of this model per step of the run."""


@dataclass(frozen=True)
class SystemsConfig:
    """One layer of linear attention and one mesa-layer on linear dynamical systems (arXiv 2309.05858)."""

    dimensions: int = 5
    """Dimension d of a state (paper: 10)."""
    length: int = 30
    """Predictions T per sequence (paper: 50)."""
    noise: float = 0.01
    """Standard deviation of the process noise in every coordinate (paper: 0.01)."""
    batch: int = 32
    """New sequences per update (paper: 256)."""
    learning_rate: float = 1e-2
    """Initial learning rate of Adam, with cosine decay to zero (paper: 3e-4, and 4e-4 for the mesa-layer)."""
    updates: int = 6
    """Updates of these models per step of the run."""


@dataclass(frozen=True)
class MesaConfig:
    """Trains single layers whose optimum is known in closed form, and compares theory with measurement.

    Raises:
        ValueError: a name is unknown, a number is out of range, or sizes do not match.
    """

    run: Run = RunConfig(out="runs/mesa")
    diagonal_unitary: DiagonalUnitaryARConfig = field(default_factory=DiagonalUnitaryARConfig)
    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    systems: SystemsConfig = field(default_factory=SystemsConfig)
    num_steps: int = 300
    """Training steps; every step updates all models."""
    steps_per_chunk: int = 25
    """Steps per compiled call, after each of which metrics are logged and stop signals are checked."""
    flow_steps: int = 100
    """Runge-Kutta steps of the exact gradient flow; each lasts half of the inverse curvature."""
    test_sequences: int = 8192
    """New sequences on which the trained models are evaluated."""

    def __post_init__(self) -> None:
        check_sizes(self.num_steps, self.steps_per_chunk)
        for name in self.diagonal_unitary.initials:
            choose("initial distribution", name, INITIALS)
        pairs = self.diagonal_unitary.initial_weights
        if not pairs or any(len(pair) != 2 or min(pair) <= 0 for pair in pairs):
            raise ValueError(f"diagonal-unitary.initial-weights must be pairs of positive numbers (got {pairs})")
        at_least(2, self, "diagonal_unitary.replicas", "test_sequences")
        at_least(1, self, "flow_steps", "few_shot.examples", "few_shot.updates", "systems.updates")
        for part in ("diagonal_unitary", "few_shot", "systems"):
            at_least(1, self, f"{part}.dimensions", f"{part}.batch")
        at_least(2, self, "diagonal_unitary.length", "systems.length")
        positive(self, "diagonal_unitary.scale", "diagonal_unitary.step_size", "few_shot.width")
        positive(self, "few_shot.learning_rate", "systems.learning_rate")
        at_least(0, self, "systems.noise")


QUICK = MesaConfig()
PAPER = MesaConfig(
    diagonal_unitary=DiagonalUnitaryARConfig(
        initials=("gaussian", "sparse", "ones", "signs"), replicas=8, batch=128, step_size=0.05
    ),
    few_shot=FewShotConfig(batch=2048, learning_rate=1e-3, updates=1),
    systems=SystemsConfig(dimensions=10, length=50, batch=256, learning_rate=1e-3),
    num_steps=5000,
    test_sequences=65_536,
)
PRESETS = {"quick": QUICK, "paper": PAPER}
"""Configurations by name."""
