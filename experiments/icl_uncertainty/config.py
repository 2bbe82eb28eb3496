"""The configuration of the study; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.common.loop import check_sizes
from lopt.tasks import Criterion, gaussian_losses, squared_errors

OBJECTIVES: dict[str, tuple[Criterion, int]] = {"mean_and_std": (gaussian_losses, 2), "mean": (squared_errors, 1)}
"""Criteria, and how many outputs they judge."""
FRESH = 0
"""The size of a pool that is none: every function is new."""


@dataclass(frozen=True)
class TaskConfig:
    """Linear functions with noise, y = w . x + sigma eps."""

    objective: str = "mean_and_std"
    """mean_and_std (log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2), arXiv 2405.15115) or mean (squared error, arXiv
    2208.01066)."""
    dimensions: int = 4
    """d (arXiv 2208.01066: 20; 2306.15063: 8)."""
    length: int = 20
    """T, examples of a sequence (arXiv 2405.15115: 44; 2306.15063: 16)."""
    noises: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Values of sigma, equally likely (ours; arXiv 2306.15063: 0.5 alone; 2208.01066: none)."""
    std: float = 1.0
    """Standard deviation of the weights w."""
    pools: tuple[int, ...] = (FRESH,)
    """One model is trained for each: on a pool of so many functions, or on new ones every time (0)."""


@dataclass(frozen=True)
class ModelConfig:
    """The Transformer."""

    width: int = 64
    """Of a token (arXiv 2208.01066: 256; 2306.15063: 128)."""
    layers: int = 3
    """Blocks (arXiv 2208.01066: 12; 2306.15063: 8)."""
    heads: int = 4
    """Heads (arXiv 2208.01066: 8; 2306.15063: 2)."""
    paired: bool = True
    """Tokens are (x_t, x_{t-1}, y_{t-1}), not (x_t, y_{t-1}) (the papers have two tokens per example, x and y)."""


@dataclass(frozen=True)
class TrainingConfig:
    """The outer loop: Adam on the mean loss over all positions."""

    num_steps: int = 8000
    """Steps (arXiv 2208.01066, 2306.15063: 500 000)."""
    batch: int = 64
    """Sequences of a step (arXiv 2208.01066: 64; 2306.15063: 256)."""
    learning_rate: float = 3e-3
    """Adam's greatest (arXiv 2306.15063: 1e-3); it rises linearly and falls to zero (cosine)."""
    warm_up: int = 200
    """Steps in which it rises."""
    max_norm: float = 1.0
    """A gradient's norm is clipped to this."""
    steps_per_chunk: int = 50
    """Steps per compiled call: how often metrics are logged and signals are seen."""


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, on functions and sequences that no training has seen (pools apart)."""

    every: int = 500
    """Steps between measurements of the excess over the reference for the learning curve."""
    sequences: int = 4096
    """Sequences of the final measurement, per distribution."""
    late: int = 8
    """Examples after which a position counts as late in the tables."""


@dataclass(frozen=True)
class StudyConfig:
    """Trains Transformers to do regression in context, and compares them with exact references at every position.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/icl_uncertainty")
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        choose("objective", self.task.objective, OBJECTIVES)
        check_sizes(self.training.num_steps, self.training.steps_per_chunk)
        at_least(1, self, "task.dimensions", "task.length", "model.width", "model.layers", "model.heads")
        at_least(1, self, "training.batch")
        at_least(2, self, "eval.sequences")
        at_least(0, self, "task.noises")
        positive(self, "task.std", "training.learning_rate")
        positive(self, "training.max_norm", infinite=True)
        if not self.task.noises or (self.task.objective == "mean_and_std" and min(self.task.noises) <= 0):
            raise ValueError(f"task.noises: where a std is predicted all must be positive (got {self.task.noises})")
        if not self.task.pools or min(self.task.pools) < 0 or len(set(self.task.pools)) < len(self.task.pools):
            raise ValueError(f"task.pools must be different sizes, 0 for new functions (got {self.task.pools})")
        if self.eval.every < 1 or self.eval.every % self.training.steps_per_chunk:
            raise ValueError(
                f"eval.every must be a multiple of training.steps-per-chunk (got {self.eval.every} and "
                f"{self.training.steps_per_chunk})"
            )
        if not 0 <= self.eval.late < self.task.length:
            raise ValueError(f"eval.late must be less than task.length (got {self.eval.late} and {self.task.length})")
        if not 0 < self.training.warm_up < self.training.num_steps:
            raise ValueError(
                f"training.warm-up must be less than training.num-steps (got {self.training.warm_up} and "
                f"{self.training.num_steps})"
            )
