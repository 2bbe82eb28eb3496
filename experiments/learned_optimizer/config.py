"""The configuration of meta-training an optimizer; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.common.evolution import SHAPINGS
from experiments.common.loop import check_sizes
from experiments.learned_optimizer.names import ESTIMATORS, RULES, TASKS


@dataclass(frozen=True)
class TrainingConfig:
    """What the optimizer is trained on."""

    task: str = "digits"
    """digits, digits_deep, digits_conv, digits_autoencoder, breast_cancer, wine, iris, diabetes, text_gru,
    text_transformer, quadratic or rosenbrock."""
    lifetime: int = 100
    """Updates of a life."""
    shortest: int | None = None
    """If given, lifetimes are log-uniform between this and `lifetime`."""
    rescale: float = 1.0
    """Every tensor's unit is drawn between 1 / rescale and rescale, log-uniform (VeLO: 1e3); 1 for none."""
    lateness: float = 2.0
    """A loss counts in proportion to the part of life that is over to this power; 0: at all times alike."""
    bound: float = 4.0
    """A loss never counts as more than this."""


@dataclass(frozen=True)
class RuleConfig:
    """The learned optimizer."""

    name: str = "adafactor_mlp"
    """adafactor_mlp (small_fc_lopt), mlp, hierarchical, open, lstm; or adam or sgd with learned constants."""
    step_size: float = 0.01
    """Scale of a step, where the rule has one (google/learned_optimization: 1e-3, for longer lives)."""
    exponent: float = 0.1
    """Scale of a step's logarithm, where the rule has one (google/learned_optimization: 1e-3)."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    estimator: str = "pes"
    """pes, nres (PES with one perturbation per life), es (truncated, or whole lives), meta_gradient."""
    num_steps: int = 2000
    """Meta-steps."""
    num_lifetimes: int = 32
    """Lives side by side; pairs of them but for meta_gradient."""
    num_updates: int = 20
    """K, inner updates per meta-step."""
    learning_rate: float = 1e-2
    """Adam's learning rate for the rule, falling to zero (cosine)."""
    max_norm: float = 1.0
    """The meta-gradient's norm is clipped to this."""
    std: float = 0.03
    """Standard deviation of the perturbations (google/learned_optimization: 0.01)."""
    shaping: str = "raw"
    """What a pair's fitness counts for: raw (unbiased), sign, rank, zscore; not with meta_gradient."""
    lifetime_norm: float = 1.0
    """One lifetime's meta-gradient is scaled down to this norm; only with meta_gradient."""
    steps_per_chunk: int = 20
    """Meta-steps per compiled call: how often metrics are logged and signals are seen."""


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, with newborn learners that no training and no tuning has seen."""

    every: int = 200
    """Meta-steps between measurements on the task of training."""
    tasks: tuple[str, ...] = ("digits_deep", "digits_autoencoder", "breast_cancer", "diabetes", "quadratic")
    """Tasks of the final table, beside that of training (text_gru and text_transformer take minutes each)."""
    rates: int = 9
    """Learning rates every baseline is tuned over on every task."""
    smallest_rate: float = 1e-4
    """The smallest of them; they are even on a logarithmic scale."""
    largest_rate: float = 1.0
    """The largest of them."""
    tuning_seeds: int = 8
    """Learners that judge a learning rate."""
    seeds: int = 32
    """Other learners, by which the optimizers are compared; a multiple of tuning_seeds."""


@dataclass(frozen=True)
class StudyConfig:
    """Meta-trains a learned optimizer on one task, and compares it with tuned SGD, Adam, AdamW and Lion on others.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/learned_optimizer")
    training: TrainingConfig = field(default_factory=TrainingConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        choose("rule", self.rule.name, RULES)
        choose("estimator", self.meta.estimator, dict.fromkeys(ESTIMATORS))
        choose("shaping", self.meta.shaping, SHAPINGS)
        for name in (self.training.task, *self.eval.tasks):
            choose("task", name, TASKS)
        if self.training.lateness < 0:
            raise ValueError(f"training.lateness must not be negative (got {self.training.lateness})")
        at_least(1, self, "training.lifetime", "training.shortest", "meta.num_lifetimes", "meta.num_updates")
        at_least(0, self, "training.lateness")
        at_least(1, self, "training.rescale")
        positive(self, "training.bound", "meta.max_norm", "meta.lifetime_norm", infinite=True)
        positive(self, "rule.step_size", "rule.exponent", "meta.learning_rate", "meta.std", "eval.largest_rate")
        if (self.training.shortest or 1) > self.training.lifetime:
            raise ValueError(
                "training.shortest must be between 1 and training.lifetime "
                f"(got {self.training.shortest} and {self.training.lifetime})"
            )
        at_least(1, self, "eval.tuning_seeds")
        at_least(2, self, "eval.rates", "eval.seeds")
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        if self.eval.every < 1 or self.eval.every % self.meta.steps_per_chunk:
            raise ValueError(
                f"eval.every must be a multiple of meta.steps-per-chunk (got {self.eval.every} and "
                f"{self.meta.steps_per_chunk})"
            )
        if not 0 < self.eval.smallest_rate < self.eval.largest_rate:
            raise ValueError(
                "eval: expected 0 < smallest-rate < largest-rate "
                f"(got {self.eval.smallest_rate} and {self.eval.largest_rate})"
            )
        if self.eval.seeds % self.eval.tuning_seeds:
            raise ValueError(
                f"eval.seeds must be a multiple of eval.tuning-seeds (got {self.eval.seeds} and "
                f"{self.eval.tuning_seeds})"
            )
