"""Configuration of meta-training an optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optax

from envs.names import unknown_name
from experiments.cli.command_line import Run, choose
from experiments.cli.environments import SHORT_NAMES
from experiments.cli.evolution import SHAPINGS, strategies
from experiments.cli.tasks import TASKS
from lopt import lion, optimizers
from lopt.protocols import LearnedOptimizer
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, between, multiple, positive

RULES: dict[str, Callable[..., LearnedOptimizer]] = {
    "adafactor_mlp": optimizers.AdafactorRule,
    "mlp": optimizers.MLPRule,
    "hierarchical": optimizers.HierarchicalRule,
    "open": optimizers.OpenRule,
    "lstm": optimizers.LSTMRule,
    "normalised": optimizers.NormalisedRule,
    "adam": optimizers.LearnableAdam,
    "sgd": optimizers.LearnableSGD,
}
SIZED = ("adafactor_mlp", "mlp", "hierarchical", "open")
"""Rules with the options `rule.step_size` and `rule.exponent`."""

ESTIMATORS = ("pes", "nres", "es", "meta_gradient")
CURRICULA = ("uniform", "replay")

BASELINES: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "SGD": lambda rate: optax.sgd(rate, 0.9),
    "Adam": optax.adam,
    "AdamW": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "Lion": lambda rate: lion(rate, weight_decay=1e-2),
}
"""Baselines as functions of the learning rate; SGD has momentum 0.9, AdamW and Lion a weight decay of 0.01."""


@dataclass(frozen=True)
class TrainingConfig:
    """The task and the lifetimes of meta-training."""

    task: str = "digits"
    """Task of meta-training: digits, digits_deep, digits_conv, digits_autoencoder, breast_cancer, wine, iris, diabetes,
    text_gru, text_transformer, quadratic or rosenbrock; or an import path, for example mypackage.my_task. With an RL
    environment (cartpole, acrobot, catch, breakout, a gymnax name, brax/<task> or grid/<level distribution>), PPO is
    trained by OPEN, and the options are others: see --training.task cartpole --help."""
    num_updates: int = 100
    """Number of inner updates in a lifetime."""
    shortest: int | None = None
    """Smallest number of inner updates in a lifetime. If given, lengths are drawn log-uniformly between this and
    training.num_updates; by default all lifetimes have training.num_updates updates."""
    rescale: float = 1.0
    """Range of the random scale of every parameter tensor, drawn log-uniformly between 1 / rescale and rescale (VeLO:
    1e3); 1 turns rescaling off."""
    loss_power: float = 2.0
    """Power p of the weight (n/N)^p of a loss after n of N updates in the meta-loss; 0 weighs all losses equally."""
    bound: float = 4.0
    """Upper bound of a loss in the meta-loss; larger losses are clipped to it."""


@dataclass(frozen=True)
class RuleConfig:
    """The learned optimizer."""

    name: str = "adafactor_mlp"
    """Learned optimizer: adafactor_mlp (small_fc_lopt), mlp, hierarchical, open, lstm or normalised (which here
    has a constant learning rate of 1e-3; --preset normalised draws schedules); or adam or sgd with meta-trained
    constants; or the import path of an object or class, for example mypackage.MyOptimizer."""
    step_size: float = 0.01
    """Factor on the update of adafactor_mlp, mlp, hierarchical and open (google/learned_optimization: 1e-3, for longer
    lifetimes)."""
    exponent: float = 0.1
    """Factor on the logarithm of the update's magnitude in adafactor_mlp, mlp, hierarchical and open
    (google/learned_optimization: 1e-3)."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    estimator: str = "pes"
    """Estimator of the gradient in theta: pes, nres (PES with one perturbation per lifetime), es (biased by truncation
    where meta.num-updates is below the lifetime), meta_gradient, or a distribution-based algorithm of evosax (Open_ES,
    SNES, ...), each of whose candidates is trained on every level."""
    num_steps: int = 2000
    """Number of meta-steps."""
    num_lifetimes: int = 32
    """Number of lifetimes trained side by side; antithetic pairs of lifetimes, except with meta_gradient."""
    num_updates: int = 20
    """Number K of inner updates per meta-step."""
    population: int = 32
    """Number of candidates of an evosax algorithm, an even number; not used by other estimators."""
    learning_rate: float = 1e-2
    """Adam's learning rate for theta, which decays to zero by a cosine."""
    max_norm: float = 1.0
    """Norm at which the meta-gradient is clipped; inf turns clipping off."""
    std: float = 0.03
    """Standard deviation of the perturbations of theta (google/learned_optimization: 0.01); not used by
    meta_gradient."""
    shaping: str = "raw"
    """Transformation of the fitness of pairs: raw (unbiased), sign, rank or zscore; not used by meta_gradient."""
    lifetime_norm: float = 1.0
    """Norm at which the meta-gradient of each lifetime is clipped before the mean is taken; only used by
    meta_gradient."""
    steps_per_chunk: int = 20
    """Number of meta-steps per compiled call. Metrics are logged and signals are handled once per call."""


@dataclass(frozen=True)
class CurriculumConfig:
    """The choice of task instances and initialisations (levels) of meta-training."""

    name: str = "uniform"
    """uniform draws a new level for every lifetime; replay repeats levels with a high algorithmic regret."""
    capacity: int = 256
    """Number of levels in the replay buffer, at least twice meta.num-lifetimes."""
    replay_probability: float = 0.5
    """Probability that a new lifetime repeats a level of the buffer."""
    antagonist: str = "Adam"
    """Baseline optimizer of the regret, by which a model is trained beside every lifetime: SGD, Adam, AdamW or Lion."""
    antagonist_rate: float = 1e-2
    """Learning rate of the antagonist."""


@dataclass(frozen=True)
class EvalConfig:
    """Meta-testing, with seeds that neither meta-training nor tuning uses."""

    every: int = 200
    """Number of meta-steps between points of the validation curve on the task of meta-training, a multiple of
    meta.steps-per-chunk."""
    tasks: tuple[str, ...] = ("digits_deep", "digits_autoencoder", "breast_cancer", "diabetes", "quadratic")
    """Further tasks of the final table, on which the optimizer was not trained (text_gru and text_transformer take
    minutes each)."""
    rates: int = 9
    """Number of learning rates over which every baseline is tuned on every task, evenly spaced in the logarithm."""
    smallest_rate: float = 1e-4
    """Smallest learning rate of the baselines' tuning grid."""
    largest_rate: float = 1.0
    """Largest learning rate of the baselines' tuning grid."""
    tuning_seeds: int = 8
    """Number of learners by whose mean loss a learning rate is chosen."""
    seeds: int = 32
    """Number of learners in the final table, with other seeds than those of the tuning; a multiple of
    eval.tuning-seeds."""


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
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        choose("rule", self.rule.name, RULES, extensible=True)
        if self.meta.estimator not in ESTIMATORS:  # evosax takes a second to import
            choose("estimator", self.meta.estimator, dict.fromkeys((*ESTIMATORS, *strategies())))
        choose("shaping", self.meta.shaping, SHAPINGS)
        if self.training.task not in TASKS and "." not in self.training.task:
            raise unknown_name("task", self.training.task, [*TASKS, *SHORT_NAMES])
        for name in (self.training.task, *self.eval.tasks):
            choose("task", name, TASKS, extensible=True)
        if self.training.loss_power < 0:
            raise ValueError(f"training.loss-power must not be negative (got {self.training.loss_power})")
        at_least(1, self, "training.num_updates", "training.shortest", "meta.num_lifetimes", "meta.num_updates")
        at_least(0, self, "training.loss_power")
        at_least(1, self, "training.rescale")
        positive(self, "training.bound", "meta.max_norm", "meta.lifetime_norm", infinite=True)
        positive(self, "rule.step_size", "rule.exponent", "meta.learning_rate", "meta.std", "eval.largest_rate")
        if (self.training.shortest or 1) > self.training.num_updates:
            raise ValueError(
                "training.shortest must be between 1 and training.num_updates "
                f"(got {self.training.shortest} and {self.training.num_updates})"
            )
        choose("curriculum", self.curriculum.name, dict.fromkeys(CURRICULA))
        choose("antagonist", self.curriculum.antagonist, BASELINES)
        positive(self, "curriculum.antagonist_rate")
        between(0, 1, self, "curriculum.replay_probability")
        if self.curriculum.name == "replay" and self.curriculum.capacity < 2 * self.meta.num_lifetimes:
            raise ValueError(
                "curriculum.capacity must be at least twice meta.num-lifetimes "
                f"(got {self.curriculum.capacity} and {self.meta.num_lifetimes})"
            )
        if self.meta.population < 2 or self.meta.population % 2:
            raise ValueError(f"meta.population must be even and at least 2 (got {self.meta.population})")
        at_least(1, self, "eval.tuning_seeds")
        at_least(2, self, "eval.rates", "eval.seeds")
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        multiple(self, "eval.every", of="meta.steps_per_chunk")
        if not 0 < self.eval.smallest_rate < self.eval.largest_rate:
            raise ValueError(
                "eval: expected 0 < smallest-rate < largest-rate "
                f"(got {self.eval.smallest_rate} and {self.eval.largest_rate})"
            )
        multiple(self, "eval.seeds", of="eval.tuning_seeds")


QUICK = StudyConfig()

SMALL = StudyConfig(
    training=TrainingConfig(num_updates=500, shortest=50, rescale=10.0),
    meta=MetaConfig(num_steps=20_000, num_lifetimes=32),
    eval=EvalConfig(
        every=1000,
        tasks=(
            "digits_deep",
            "digits_conv",
            "digits_autoencoder",
            "breast_cancer",
            "wine",
            "diabetes",
            "quadratic",
            "rosenbrock",
            "text_gru",
            "text_transformer",
        ),
        rates=17,
        tuning_seeds=16,
        seeds=64,
    ),
)

PAPER = StudyConfig(
    training=TrainingConfig(num_updates=2000, shortest=100, rescale=1000.0),
    rule=RuleConfig(step_size=1e-3, exponent=1e-3),
    meta=MetaConfig(num_steps=100_000, num_lifetimes=128, num_updates=50, learning_rate=3e-4),
    eval=EvalConfig(every=2000, tasks=SMALL.eval.tasks, rates=33, tuning_seeds=32, seeds=128),
)

PRESETS = {"quick": QUICK, "small": SMALL, "paper": PAPER}
