"""Configuration of the GPICL experiment; every option states its unit and the source of its default."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from experiments.incontext.gpicl.names import DATASETS, FILES, MODELS
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, between, multiple, positive


@dataclass(frozen=True)
class TasksConfig:
    """Tasks: random projections and label permutations of a data set."""

    dataset: str = "digits"
    """Data set of the meta-training tasks: digits, digits_0_to_4, digits_5_to_9, letters, wine, breast_cancer, iris or
    random; idx:FOLDER or npz:FILE reads files of the MNIST family (GPICL uses MNIST)."""
    num_tasks: int = 0
    """Number of different tasks in meta-training; 0, the default, draws a new task for every sequence."""
    length: int = 32
    """Examples per sequence; the model predicts the label of each from the examples before it (GPICL: 100)."""
    features: int = 32
    """Width of the projected inputs, the rows of A; 0 takes the number of input features, as GPICL does."""
    slots: int = 10
    """Width of the one-hot labels, at least the number of classes of every data set."""
    unpermuted: float = 0.0
    """Probability q that the labels of a meta-training sequence are not permuted, an intervention of GPICL
    (section 4.4); 0, the default, permutes the labels of all sequences."""
    min_classes: int = 2
    """Smallest number of classes in a meta-training sequence; the number is uniform from this to all classes. 0 always
    uses all classes, as GPICL does, and evaluation sequences always have all classes."""
    centred: bool = True
    """Whether to subtract the mean of every input feature, which shortens the plateau; otherwise only the mean over all
    features is subtracted, as in GPICL."""


@dataclass(frozen=True)
class ModelConfig:
    """The sequence model that learns in context."""

    name: str = "transformer"
    """Architecture: transformer, linear_attention, fast_weights, lstm, gru, outer_product_lstm or vsml; or the import
    path of a class, for example mypackage.MyModel, which is called with the widths inputs, targets and outputs."""
    width: int = 64
    """Width of the residual stream, or of the recurrent state (GPICL: 256); vsml ignores it."""
    layers: int = 2
    """Number of blocks, or of recurrent layers (GPICL: 4); vsml ignores it."""
    heads: int = 4
    """Attention heads per block (GPICL: 8); recurrent models and vsml ignore it."""
    key_size: int = 0
    """Width of a head's queries, keys and values (GPICL: 32); 0, the default, takes width / heads."""
    expansion: int = 4
    """Hidden width of a block's MLP, as a multiple of the model's width."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop: Adam on the mean loss over all positions."""

    num_steps: int = 3000
    """Number of meta-steps (GPICL's is not known to us)."""
    batch_size: int = 64
    """Sequences per meta-step, each with its own task (GPICL: 512 in its sweeps)."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam (GPICL's is not known to us)."""
    warmup: int = 200
    """Meta-steps of linear learning rate warm-up from zero; cosine decay to a tenth of the peak follows."""
    epsilon: float = 1e-12
    """Epsilon of Adam; small as in GPICL, since on the initial plateau gradients are so small that 1e-8 prolongs it."""
    max_norm: float = 1.0
    """Threshold to which the global norm of the meta-gradient is clipped; inf does not clip."""
    steps_per_chunk: int = 50
    """Meta-steps per compiled call, after each of which metrics are logged and stop signals are checked."""


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation, always on sequences of all classes that meta-training does not use."""

    every: int = 200
    """Meta-steps between evaluations on seen and unseen tasks; this is the resolution of the plateau's length."""
    sequences: int = 256
    """Sequences per evaluation during meta-training."""
    final_sequences: int = 1024
    """Sequences per evaluation at the end, from which the report's curves are computed."""
    datasets: tuple[str, ...] = ("letters", "wine", "breast_cancer", "iris", "random")
    """Data sets of the final evaluation that are not used in meta-training, by the names of tasks.dataset."""


@dataclass(frozen=True)
class SweepConfig:
    """A sweep of several runs over one option."""

    option: str = ""
    """The option that varies, for example `tasks.num_tasks`, `meta.batch_size`, `tasks.unpermuted`, `meta.epsilon` or
    `model.width`; empty, the default, makes a single run."""
    values: tuple[float, ...] = ()
    """Values of the option, each of which is run with every seed."""
    seeds: int = 3
    """Runs per value, with consecutive seeds from run.seed on."""


@dataclass(frozen=True)
class StudyConfig:
    """Meta-trains a sequence model on in-context classification, and evaluates it on seen and unseen tasks.

    Raises:
        ValueError: a name is unknown, a number is out of range, or sizes do not match.
    """

    run: Run = RunConfig(out="runs/gpicl")
    tasks: TasksConfig = field(default_factory=TasksConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        choose("model", self.model.name, MODELS, extensible=True)
        for name in (self.tasks.dataset, *self.eval.datasets):
            kind, colon, _ = name.partition(":")
            choose("kind of files" if colon else "data set", kind if colon else name, FILES if colon else DATASETS)
        for name, value in (("tasks.num-tasks", self.tasks.num_tasks), ("tasks.min_classes", self.tasks.min_classes)):
            if value < 0:
                raise ValueError(f"{name} must not be negative (got {value})")
        at_least(0, self, "tasks.features", "model.key_size")
        at_least(1, self, "tasks.slots", "meta.batch_size", "meta.warmup")
        at_least(1, self, "model.width", "model.layers", "model.heads", "model.expansion")
        between(0, 1, self, "tasks.unpermuted")
        positive(self, "meta.learning_rate", "meta.epsilon")
        positive(self, "meta.max_norm", infinite=True)
        if self.meta.warmup >= self.meta.num_steps:
            raise ValueError(
                f"meta.warmup must end before the run (got {self.meta.warmup} of {self.meta.num_steps} meta-steps)"
            )
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        multiple(self, "eval.every", of="meta.steps_per_chunk")
        if self.tasks.length < 2 or min(self.eval.sequences, self.eval.final_sequences) < 1:
            raise ValueError("expected tasks.length of at least 2, and numbers of sequences of at least 1")
        if bool(self.sweep.option) != bool(self.sweep.values) or self.sweep.seeds < 1:
            raise ValueError(
                "sweep: give an option, its values and at least one seed "
                f"(got {self.sweep.option!r}, {self.sweep.values} and {self.sweep.seeds})"
            )


QUICK = StudyConfig()

SWEEP = StudyConfig(
    eval=EvalConfig(datasets=("letters",)),
    sweep=SweepConfig("tasks.num_tasks", (1, 8, 64, 512, 4096, 32768, 0), seeds=3),
)

PAPER = StudyConfig(
    tasks=TasksConfig(dataset="idx:data/mnist", length=100, features=0, min_classes=0, centred=False),
    model=ModelConfig(width=256, layers=4, heads=8, key_size=32),
    meta=MetaConfig(num_steps=100_000, batch_size=512, learning_rate=3e-4, warmup=1000),
    eval=EvalConfig(every=1000, datasets=("idx:data/fashion-mnist", "idx:data/kmnist", "random")),
)

PRESETS = {"quick": QUICK, "sweep": SWEEP, "paper": PAPER}
"""Configurations by name. The paper's learning rate and number of meta-steps are not known to us; replications use
learning rates of 2e-4 to 3e-4."""
