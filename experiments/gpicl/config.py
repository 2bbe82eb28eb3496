"""The configuration of in-context learning; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least, between, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.common.loop import check_sizes
from experiments.gpicl.names import DATASETS, FILES, MODELS


@dataclass(frozen=True)
class TasksConfig:
    """What is learned in context: random projections and label permutations of a data set."""

    dataset: str = "digits"
    """digits, digits_0_to_4, digits_5_to_9, letters, wine, breast_cancer, iris, random; idx:FOLDER or npz:FILE for the
    MNIST family (GPICL: MNIST)."""
    num_tasks: int = 0
    """Number of different tasks in meta-training; 0 for infinity."""
    length: int = 32
    """Examples of a sequence (GPICL: 100)."""
    features: int = 32
    """Rows of a projection, the width of x; 0 for as many as the data set has (GPICL)."""
    slots: int = 10
    """Width of the labels."""
    in_place: float = 0.0
    """Part q of the training sequences whose labels are not permuted (an intervention of GPICL's)."""
    fewest: int = 2
    """Training sequences are of this many classes up to all; 0 for always all (GPICL). Measurements are of all."""
    centred: bool = True
    """Take the mean image off; otherwise the mean of all numbers alone (GPICL)."""


@dataclass(frozen=True)
class ModelConfig:
    """The sequence model."""

    name: str = "transformer"
    """transformer, linear_attention, fast_weights, lstm, gru, outer_product_lstm, vsml."""
    width: int = 64
    """Of a token, or of a recurrent state (GPICL: 256); not for vsml."""
    layers: int = 2
    """Blocks, or recurrent layers (GPICL: 4); not for vsml."""
    heads: int = 4
    """Of attention (GPICL: 8)."""
    key_size: int = 0
    """Of a head's queries, keys and values; 0 for width / heads (GPICL: 32)."""
    expansion: int = 4
    """Hidden width of a block's network, in tokens' widths."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    num_steps: int = 3000
    """Meta-steps."""
    batch_size: int = 64
    """Sequences per meta-step, each of its own task (GPICL: 512 in its sweeps)."""
    learning_rate: float = 3e-3
    """Adam's, at its greatest (GPICL's is not known to us)."""
    warmup: int = 200
    """Meta-steps in which the rate rises from zero; then it falls to a tenth (cosine)."""
    epsilon: float = 1e-12
    """Adam's; on the plateau gradients are so small that 1e-8 slows the way out (GPICL)."""
    max_norm: float = 1.0
    """The meta-gradient's norm is clipped to this."""
    steps_per_chunk: int = 50
    """Meta-steps per compiled call: how often metrics are logged and signals are seen."""


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, always on sequences of all classes that no training has seen."""

    every: int = 200
    """Meta-steps between measurements on seen and unseen tasks; the resolution of the plateau's length."""
    sequences: int = 256
    """Sequences of such a measurement."""
    final_sequences: int = 1024
    """Sequences of every curve in the report."""
    datasets: tuple[str, ...] = ("letters", "wine", "breast_cancer", "iris", "random")
    """Data sets of the report that were never trained on; names as for tasks.dataset."""


@dataclass(frozen=True)
class SweepConfig:
    """Several runs instead of one."""

    option: str = ""
    """The option that varies, as `tasks.num_tasks`, `meta.batch_size`, `tasks.in_place`, `meta.epsilon` or
    `model.width`; empty for a single run."""
    values: tuple[float, ...] = ()
    """Its values."""
    seeds: int = 3
    """Runs of every value, with the seeds from the run's seed on."""


@dataclass(frozen=True)
class StudyConfig:
    """Meta-trains a sequence model to learn classification from the examples in its context, and shows whether it does.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/gpicl")
    tasks: TasksConfig = field(default_factory=TasksConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        choose("model", self.model.name, MODELS)
        for name in (self.tasks.dataset, *self.eval.datasets):
            kind, colon, _ = name.partition(":")
            choose("kind of files" if colon else "data set", kind if colon else name, FILES if colon else DATASETS)
        for name, value in (("tasks.num-tasks", self.tasks.num_tasks), ("tasks.fewest", self.tasks.fewest)):
            if value < 0:
                raise ValueError(f"{name} must not be negative (got {value})")
        at_least(0, self, "tasks.features", "model.key_size")
        at_least(1, self, "tasks.slots", "meta.batch_size", "meta.warmup")
        at_least(1, self, "model.width", "model.layers", "model.heads", "model.expansion")
        between(0, 1, self, "tasks.in_place")
        positive(self, "meta.learning_rate", "meta.epsilon")
        positive(self, "meta.max_norm", infinite=True)
        if self.meta.warmup >= self.meta.num_steps:
            raise ValueError(
                f"meta.warmup must end before the run (got {self.meta.warmup} of {self.meta.num_steps} meta-steps)"
            )
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        if self.eval.every < 1 or self.eval.every % self.meta.steps_per_chunk:
            raise ValueError(
                f"eval.every must be a multiple of meta.steps-per-chunk (got {self.eval.every} and "
                f"{self.meta.steps_per_chunk})"
            )
        if self.tasks.length < 2 or min(self.eval.sequences, self.eval.final_sequences) < 1:
            raise ValueError("expected tasks.length of at least 2, and numbers of sequences of at least 1")
        if bool(self.sweep.option) != bool(self.sweep.values) or self.sweep.seeds < 1:
            raise ValueError(
                "sweep: give an option, its values and at least one seed "
                f"(got {self.sweep.option!r}, {self.sweep.values} and {self.sweep.seeds})"
            )
