"""Configuration of a symbolic distillation."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from experiments.cli.tasks import TASKS
from lopt.training import RunConfig
from lopt.training.checks import at_least, between, positive


@dataclass(frozen=True)
class DriftConfig:
    """The data to which the formula of a drift is fitted."""

    points: int = 1024
    """Number of points (r, A) for the fit; the report uses as many other points."""
    spread: float = 0.3
    """Standard deviation of log r at the points. A is standard normal, as after PPO's normalisation."""
    fraction: float = 0.0
    """Progress n / N, between 0 and 1, at which a time-aware drift is evaluated."""
    weight: float = 1.0
    """Cost of a violation (f < 0, f(1) or f'(1) other than 0) of one standard deviation of the drift, in shares of the
    drift's variance."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The trajectory to which the program of an optimizer is fitted."""

    task: str = "digits"
    """Task on which the optimizer trains a learner: digits, digits_deep, digits_conv, digits_autoencoder,
    breast_cancer, wine, iris, diabetes, text_gru, text_transformer, quadratic or rosenbrock."""
    steps: int = 60
    """Number of updates of the trajectory. The time to evaluate a program is proportional to it."""
    weights: int = 256
    """Number of weights, drawn from all of the learner's, whose gradients and updates are recorded."""


@dataclass(frozen=True)
class SearchConfig:
    """Regularised evolution of programs, with several independent searches side by side."""

    restarts: int = 4
    """Number of independent searches, which differ in their seeds; the formula is chosen from all of them."""
    steps: int = 60
    """Number of steps of the run. In each step, a search evaluates about one batch of programs."""
    batch: int = 256
    """Number of programs that a search evaluates in a step."""
    population: int = 200
    """Number of individuals in a population."""
    tournament: int = 4
    """Number of individuals in a tournament, whose fittest one is mutated."""
    plateau: int | None = 2500
    """Number of evaluated programs without improvement after which a search restarts, alternately from the initial
    program and from its best one. None turns restarts off."""
    longest: int = 24
    """Number of statements, those without effect included, from which on no mutation inserts another one."""
    constant_mutation: float = 0.4
    """Fraction of children in which one constant is rescaled by a random factor and nothing else changes."""
    pattern_search: float = 0.01
    """Fraction of children in which all constants are improved by a pattern search of three sweeps."""
    parsimony: float = 1e-3
    """Cost of a statement during the search, in shares of the target's variance."""


@dataclass(frozen=True)
class ChoiceConfig:
    """Selection of the formula."""

    sweeps: int = 150
    """Maximum number of sweeps of the pattern search over the constants of each finalist."""
    tolerance: float = 0.01
    """Cost above the lowest one, in shares of the target's variance, within which the shortest program is chosen."""


@dataclass(frozen=True)
class DistilConfig:
    """Searches for a closed form of a learned drift or optimizer, and saves it as a formula and as a rule file.

    Raises:
        ValueError: an unknown name, or sizes out of range.
    """

    run: Run = RunConfig(out="runs/distil")
    rule: str = "runs/lpo/rule"
    """Learned drift or optimizer: the name of a shipped rule (lpo-cartpole), or a rule file without its suffix."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)

    def __post_init__(self) -> None:
        choose("task", self.optimizer.task, TASKS)
        at_least(2, self, "drift.points", "optimizer.steps", "optimizer.weights")
        at_least(1, self, "search.restarts", "search.steps", "search.batch", "search.population")
        at_least(1, self, "search.tournament", "search.longest", "search.plateau")
        at_least(0, self, "choice.sweeps", "choice.tolerance")
        positive(self, "drift.spread")
        between(0, 1, self, "drift.fraction")
        if not self.drift.weight >= 0 or not self.search.parsimony >= 0:
            raise ValueError(
                "drift.weight and search.parsimony must not be negative "
                f"(got {self.drift.weight} and {self.search.parsimony})"
            )
        constant, pattern = self.search.constant_mutation, self.search.pattern_search
        if not (constant >= 0 and pattern >= 0 and constant + pattern < 1):
            raise ValueError(
                "search: constant-mutation and pattern-search must be >= 0 and their sum below 1 "
                f"(got {constant} and {pattern})"
            )


QUICK = DistilConfig()
SMALL = DistilConfig(search=SearchConfig(restarts=8, steps=400), choice=ChoiceConfig(sweeps=400))
OPTIMIZER = DistilConfig(search=SearchConfig(restarts=2, steps=15), choice=ChoiceConfig(sweeps=30))
PRESETS = {"quick": QUICK, "optimizer": OPTIMIZER, "small": SMALL}
"""`quick` takes two minutes on one core for a drift. Programs of an optimizer are slower to evaluate, since they run
step by step: `optimizer` evaluates an eighth as many. `small` evaluates thirteen times as many as `quick`; it has not
been run."""
