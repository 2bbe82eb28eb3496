"""Configuration of the in-context regression study; every option states its unit and the source of its default."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from lopt.tasks import Criterion, gaussian_losses, squared_errors
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, multiple, positive

OBJECTIVES: dict[str, tuple[Criterion, int]] = {"mean_and_std": (gaussian_losses, 2), "mean": (squared_errors, 1)}
"""Criteria by name, with the width of the predictions that they take."""
FRESH = 0
"""Pool size that stands for no pool: every sequence has a new function."""


@dataclass(frozen=True)
class TaskConfig:
    """Linear regression tasks y = w . x + sigma eps."""

    objective: str = "mean_and_std"
    """Training loss: mean_and_std is log sigma_hat + (y - y_hat)^2 / (2 sigma_hat^2) (arXiv 2405.15115), mean is the
    squared error (arXiv 2208.01066)."""
    dimensions: int = 4
    """Dimension d of an input (arXiv 2208.01066: 20; 2306.15063: 8)."""
    length: int = 20
    """Examples T per sequence (arXiv 2405.15115: 44; 2306.15063: 16)."""
    noises: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Values of the noise standard deviation sigma, equally likely; the default is ours (arXiv 2306.15063: 0.5 alone;
    2208.01066: no noise)."""
    std: float = 1.0
    """Standard deviation of the weights w (arXiv 2208.01066, 2306.15063: 1)."""
    pools: tuple[int, ...] = (FRESH,)
    """Pool sizes; one model is trained per size, on a fixed pool of that many functions, or with 0 on new functions."""


@dataclass(frozen=True)
class ModelConfig:
    """The Transformer that learns in context."""

    width: int = 64
    """Width of the residual stream (arXiv 2208.01066: 256; 2306.15063: 128)."""
    layers: int = 3
    """Number of blocks (arXiv 2208.01066: 12; 2306.15063: 8)."""
    heads: int = 4
    """Attention heads per block (arXiv 2208.01066: 8; 2306.15063: 2)."""
    paired: bool = True
    """Whether tokens are (x_t, x_{t-1}, y_{t-1}), which shortens training, instead of (x_t, y_{t-1}); the papers have
    two tokens per example, x and y."""


@dataclass(frozen=True)
class TrainingConfig:
    """The outer loop: Adam on the mean loss over all positions."""

    num_steps: int = 8000
    """Number of training steps (arXiv 2208.01066, 2306.15063: 500 000)."""
    batch: int = 64
    """Sequences per step (arXiv 2208.01066: 64; 2306.15063: 256)."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam (arXiv 2306.15063: 1e-3)."""
    warmup: int = 200
    """Steps of linear learning rate warm-up from zero; cosine decay to zero follows."""
    max_norm: float = 1.0
    """Threshold to which the global norm of the gradient is clipped; inf does not clip."""
    steps_per_chunk: int = 50
    """Steps per compiled call, after each of which metrics are logged and stop signals are checked."""


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation on new sequences, of new functions or of the functions of a pool."""

    every: int = 500
    """Steps between evaluations of the excess loss over the exact reference, for the learning curve."""
    sequences: int = 4096
    """Sequences per test distribution in the final evaluation."""
    min_examples: int = 8
    """Tables and learning curves average over the positions with at least this many earlier examples."""


@dataclass(frozen=True)
class StudyConfig:
    """Trains Transformers on in-context regression, and compares them with exact references at every position.

    Raises:
        ValueError: a name is unknown, a number is out of range, or sizes do not match.
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
            raise ValueError(f"task.noises must be positive for objective mean_and_std (got {self.task.noises})")
        if not self.task.pools or min(self.task.pools) < 0 or len(set(self.task.pools)) < len(self.task.pools):
            raise ValueError(f"task.pools must be distinct sizes, 0 for new functions (got {self.task.pools})")
        multiple(self, "eval.every", of="training.steps_per_chunk")
        if not 0 <= self.eval.min_examples < self.task.length:
            raise ValueError(
                f"eval.min-examples must be less than task.length (got {self.eval.min_examples} and {self.task.length})"
            )
        if not 0 < self.training.warmup < self.training.num_steps:
            raise ValueError(
                f"training.warmup must be less than training.num-steps (got {self.training.warmup} and "
                f"{self.training.num_steps})"
            )


QUICK = StudyConfig()

REGRESSION = StudyConfig(task=TaskConfig(objective="mean", length=16, noises=(0.0,)), eval=EvalConfig(min_examples=4))
"""Noise-free regression as in arXiv 2208.01066, compared with least squares, averaging and gradient descent."""

DIVERSITY = StudyConfig(
    task=TaskConfig(objective="mean", length=8, noises=(0.25,), pools=(4, 64, 1024, FRESH)),
    model=ModelConfig(layers=2),
    training=TrainingConfig(num_steps=5000, batch=128),
    eval=EvalConfig(min_examples=4),
)
"""Pools of increasing size as in arXiv 2306.15063, compared with the posteriors over the pool (dMMSE) and over all
functions (ridge)."""

PAPER = StudyConfig(
    task=TaskConfig(dimensions=8, length=44, pools=(4096, 65_536, FRESH)),
    model=ModelConfig(width=256, layers=12, heads=8),
    training=TrainingConfig(num_steps=500_000, learning_rate=1e-4, warmup=5000),
    eval=EvalConfig(every=10_000, min_examples=16),
)

PRESETS = {"quick": QUICK, "regression": REGRESSION, "diversity": DIVERSITY, "paper": PAPER}
"""Configurations by name."""
