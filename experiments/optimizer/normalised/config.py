"""Configuration of meta-training the normalised rule on many tasks."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from experiments.cli.tasks import TASKS
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, between, multiple, positive

RATES = {
    "digits": 0.012,
    "digits_tanh": 0.012,
    "digits_gelu": 0.012,
    "digits_64": 0.012,
    "letters": 0.018,
    "letters_deep": 0.018,
    "letters_autoencoder": 0.0048,
    "wine": 0.0048,
    "quadratic": 0.067,
}
"""Peak learning rates of meta-training by task: the best of 12 rates (0.002 to 0.25) for the initial rule with a cosine
schedule of 150 updates, by the mean held-out loss over 16 learners."""


@dataclass(frozen=True)
class TrainingConfig:
    """The tasks and the lifetimes of meta-training."""

    tasks: tuple[str, ...] = tuple(RATES)
    """Tasks of meta-training, with equal weights: names as of --training.task without a preset, or import paths."""
    rates: tuple[float, ...] = ()
    """Peak learning rate of each task, around which those of lifetimes are drawn; by default those found by tuning the
    initial rule, which tasks of your own do not have."""
    rate_range: float = 2.0
    """Ratio of the largest to the central, and of the central to the smallest peak learning rate; log-uniform."""
    shortest: int = 50
    """Smallest number of inner updates in a lifetime."""
    num_updates: int = 500
    """Largest number of inner updates in a lifetime; lengths are drawn log-uniformly."""
    rescale: float = 2.0
    """Range of the random scale of every parameter tensor, drawn log-uniformly between 1 / rescale and rescale; 1 turns
    rescaling off."""
    loss_power: float = 1.0
    """Power p of the weight (n/N)^p of a window that ends after n of N updates in the meta-gradient."""
    window_share: float = 0.5
    """Weight of the mean training loss of the window's updates in the meta-loss; the rest is that of the loss on one
    held-out batch at the end of the window."""
    bound: float = 20.0
    """Upper bound of a loss in the meta-loss; larger losses are clipped to it."""


@dataclass(frozen=True)
class RuleConfig:
    """The learned optimizer, `NormalisedRule`."""

    hidden: tuple[int, ...] = (6, 6)
    """Widths of the hidden layers of the network."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop: noise-reuse evolution strategies (PES with one perturbation per lifetime) on every task."""

    num_steps: int = 1000
    """Number of meta-steps. With 0 nothing is trained: the final table has the initial rule and those of eval.rules."""
    num_lifetimes: int = 8
    """Number of antithetic pairs of lifetimes on every task."""
    num_updates: int = 25
    """Number K of inner updates per meta-step."""
    learning_rate: float = 1e-2
    """Adam's initial learning rate for theta."""
    final_rate: float = 0.1
    """Final learning rate as a fraction of the initial one, reached by a cosine."""
    max_norm: float = 1.0
    """Norm at which the meta-gradient is clipped; inf turns clipping off."""
    std: float = 0.05
    """Standard deviation of the perturbations of theta."""
    norm_decay: float | None = None
    """Decay of the running mean of squared norms by which the gradient of every task is normalised; by default it is
    not: signs of pairs have no scale."""
    steps_per_chunk: int = 10
    """Number of meta-steps per compiled call. Metrics are logged and signals are handled once per call."""


@dataclass(frozen=True)
class EvalConfig:
    """Meta-testing, with seeds that neither meta-training nor tuning uses."""

    every: int = 250
    """Number of meta-steps between points of the validation curve, a multiple of meta.steps-per-chunk."""
    validation: tuple[str, ...] = ("digits",)
    """Tasks of meta-training of the validation curve."""
    tasks: tuple[str, ...] = (
        "digits:200",
        "digits_deep:200",
        "digits_conv:200",
        "digits:1000",
        "digits_256:200",
        "digits_autoencoder:200",
        "breast_cancer:200",
        "diabetes:200",
    )
    """Tasks of the final table, each with its number of updates after a colon; meta-training does not use their
    architectures, lengths or data, except those of digits:200."""
    rules: tuple[str, ...] = ()
    """Further rule files of this study in the final table, such as those of other meta-training seeds."""
    rates: int = 12
    """Number of learning rates over which every optimizer, the learned ones included, is tuned on every task, evenly
    spaced in the logarithm."""
    smallest_rate: float = 1e-3
    """Smallest learning rate of the grid; a tenth of it for Lion, thirty times as much for Prodigy."""
    largest_rate: float = 0.3
    """Largest learning rate of the grid, likewise."""
    tuning_seeds: int = 16
    """Number of learners by whose mean loss a learning rate is chosen."""
    seeds: int = 32
    """Number of learners in the final table, a multiple of eval.tuning-seeds."""


@dataclass(frozen=True)
class NormalisedStudyConfig:
    """Meta-trains an optimizer whose inputs and steps are normalised on several tasks at once, and compares it on other
    architectures, lengths and data with Adam, AdamW, NAdamW, Lion, Muon and Prodigy, all tuned alike with one schedule.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/normalised")
    training: TrainingConfig = field(default_factory=TrainingConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        training = self.training
        names = (*training.tasks, *self.eval.validation, *(name for name, _ in self.test_tasks))
        for name in names:
            choose("task", name, TASKS, extensible=True)
        if not training.tasks:
            raise ValueError("training.tasks must have at least one task (got none)")
        if training.rates and len(training.rates) != len(training.tasks):
            raise ValueError(
                f"training.rates must have a number for each of training.tasks (got {len(training.rates)} and "
                f"{len(training.tasks)})"
            )
        unknown = [] if training.rates else [name for name in training.tasks if name not in RATES]
        if unknown:
            raise ValueError(f"training.rates must be given: no learning rate is on record for {', '.join(unknown)}")
        if set(self.eval.validation) - set(training.tasks):
            raise ValueError(f"eval.validation must be tasks of meta-training (got {', '.join(self.eval.validation)})")
        at_least(1, self, "training.shortest", "meta.num_lifetimes", "meta.num_updates", "rule.hidden")
        at_least(1, self, "training.rate_range", "training.rescale", "eval.tuning_seeds")
        at_least(0, self, "training.loss_power", "meta.final_rate")
        at_least(2, self, "eval.rates", "eval.seeds")
        between(0, 1, self, "training.window_share")
        between(0, 1, self, "meta.norm_decay", below=True)
        positive(self, "training.rates", "training.bound", "meta.learning_rate", "meta.std", "eval.largest_rate")
        positive(self, "meta.max_norm", infinite=True)
        if training.shortest > training.num_updates:
            raise ValueError(
                "training.shortest must be at most training.num-updates "
                f"(got {training.shortest} and {training.num_updates})"
            )
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk, smallest=0)
        multiple(self, "eval.every", of="meta.steps_per_chunk")
        multiple(self, "eval.seeds", of="eval.tuning_seeds")
        if not 0 < self.eval.smallest_rate < self.eval.largest_rate:
            raise ValueError(
                "eval: expected 0 < smallest-rate < largest-rate "
                f"(got {self.eval.smallest_rate} and {self.eval.largest_rate})"
            )

    @property
    def peak_rates(self) -> tuple[float, ...]:
        """The central peak learning rate of each task of meta-training."""
        return self.training.rates or tuple(RATES[name] for name in self.training.tasks)

    @property
    def test_tasks(self) -> tuple[tuple[str, int], ...]:
        """Names and numbers of updates of the final table.

        Raises:
            ValueError: a task without a number of updates.
        """
        pairs = [entry.rpartition(":") for entry in self.eval.tasks]
        for name, _, updates in pairs:
            if not name or not updates.isdecimal() or int(updates) < 1:
                raise ValueError(f"eval.tasks: expected name:updates, such as digits:200 (got {name or updates!r})")
        return tuple((name, int(updates)) for name, _, updates in pairs)


PRESETS = {"normalised": NormalisedStudyConfig()}
