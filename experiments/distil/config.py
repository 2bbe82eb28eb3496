"""The configuration of a distillation; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least, between, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.learned_optimizer.names import TASKS


@dataclass(frozen=True)
class DriftConfig:
    """Where a drift is fitted."""

    points: int = 1024
    """Pairs of a ratio and an advantage, and as many others for the report."""
    spread: float = 0.3
    """Standard deviation of log r; A is a standard normal, as PPO normalises it."""
    fraction: float = 0.0
    """n / N, the part of a life that is over, at which a drift that knows the time is taken."""
    weight: float = 1.0
    """What a violation (f < 0, f(1) or f'(1) other than 0) of one standard deviation of the drift costs."""


@dataclass(frozen=True)
class OptimizerConfig:
    """What an optimizer is watched at."""

    task: str = "digits"
    """A task of experiments.learned_optimizer."""
    steps: int = 60
    """Updates of a life; programs run through it in numpy, one update after the other."""
    weights: int = 256
    """Weights that are watched, drawn from all."""


@dataclass(frozen=True)
class SearchConfig:
    """The search, and its restarts side by side."""

    restarts: int = 4
    """Searches that differ in their seed; the best of what all found is taken."""
    steps: int = 60
    """Steps of the run, in each of which every search tries about a batch of programs."""
    batch: int = 256
    """Programs that a search tries in a step."""
    population: int = 200
    """Individuals."""
    tournament: int = 4
    """Individuals of which the best has a child."""
    plateau: int | None = 2500
    """Tried programs without progress until a search starts again, in turn from the initial program and its best."""
    longest: int = 24
    """Statements that a program may have, those without effect too."""
    tune: float = 0.4
    """Share of children whose constants alone change: one is rescaled by a random factor ..."""
    polish: float = 0.01
    """... and share of those whose constants are all moved uphill, for a few sweeps."""
    parsimony: float = 1e-3
    """What a statement costs, in shares of the target's variance."""


@dataclass(frozen=True)
class ChoiceConfig:
    """What is made of what was found."""

    sweeps: int = 150
    """Sweeps over the constants of every finalist."""
    tolerance: float = 0.01
    """The shortest program whose cost is at most this much (in shares of the target's variance) above the best one's
    is the formula."""


@dataclass(frozen=True)
class DistilConfig:
    """Searches for a closed form of a learned rule, a drift or an optimizer, and writes it down as a formula and as a
    rule file.

    Raises:
        ValueError: an unknown name, or sizes out of range.
    """

    run: Run = RunConfig(out="runs/distil")
    rule: str = "runs/lpo/rule"
    """The rule file: of a drift or of an optimizer."""
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
        tune, polish = self.search.tune, self.search.polish
        if not (tune >= 0 and polish >= 0 and tune + polish < 1):
            raise ValueError(f"search: tune and polish must be >= 0 and below 1 together (got {tune} and {polish})")


QUICK = DistilConfig()
SMALL = DistilConfig(search=SearchConfig(restarts=8, steps=400), choice=ChoiceConfig(sweeps=400))
OPTIMIZER = DistilConfig(search=SearchConfig(restarts=2, steps=15), choice=ChoiceConfig(sweeps=30))
PRESETS = {"quick": QUICK, "optimizer": OPTIMIZER, "small": SMALL}
"""Quick takes two minutes of one core for a drift. The programs of an optimizer run step by step: its preset tries an
eighth as many. Small tries thirteen times as many as quick; it has not been run."""
