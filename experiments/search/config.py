"""Configuration of a search for an optimizer."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from experiments.cli.tasks import TASKS
from lopt.training import RunConfig
from lopt.training.checks import at_least


@dataclass(frozen=True)
class ProxyConfig:
    """The proxy task, on which every candidate program is evaluated."""

    task: str = "digits"
    """Proxy task: digits, digits_deep, digits_conv, digits_autoencoder, breast_cancer, wine, iris, diabetes, text_gru,
    text_transformer or rosenbrock."""
    steps: int = 200
    """Number of updates in a lifetime on the proxy (paper: 20,000 to 30,000, with networks 1,000 times larger)."""
    learners: int = 8
    """Number of learners, with different seeds, that a candidate trains; its fitness is their mean score (paper: 1).
    With few learners the search overfits their seeds: with two, little of its lead remains on other seeds."""
    rung: float = 0.25
    """Fraction of the first learner's lifetime after which successive halving ranks the candidates of a batch."""
    keep: float = 0.5
    """Fraction of a batch, the best candidates, that continues after the rung; 1 turns successive halving off."""


@dataclass(frozen=True)
class SearchConfig:
    """Regularised evolution and its two baselines, constant search and random search, on the same proxy."""

    steps: int = 60
    """Number of steps of the run. In each step, evolution evaluates about one batch of programs."""
    batch: int = 128
    """Number of programs evaluated together."""
    multiple: int = 1
    """Budget of each baseline in evaluated programs, as a multiple of evolution's budget (paper: 4)."""
    population: int = 300
    """Number of individuals in a population (paper: 1,000)."""
    tournament: int = 4
    """Number of individuals in a tournament, whose fittest one is mutated (paper: 2)."""
    plateau: int | None = 1500
    """Number of evaluated programs without improvement after which evolution restarts, alternately from AdamW and from
    the best program (paper: 300,000). None turns restarts off."""
    longest: int = 60
    """Number of statements from which on no mutation inserts another one. Of these, at most 32 may have an effect: a
    program with more live statements has a fitness of minus infinity."""


@dataclass(frozen=True)
class EvalConfig:
    """Meta-validation during the search, and the meta-test at its end, on seeds that the search does not use."""

    validation: str = "digits_deep"
    """Larger task of meta-validation and of the funnel's second stage; its choices are those of proxy.task."""
    validation_steps: int = 500
    """Number of updates in a lifetime on the meta-validation task."""
    every: int = 4
    """Number of steps between evaluations of each search's best program on the meta-validation task."""
    tolerance: float = 0.02
    """Fraction of its fitness on the proxy that the chosen program may lose by simplification."""
    tasks: tuple[str, ...] = ("digits_deep", "digits_autoencoder", "breast_cancer", "wine")
    """Tasks of the meta-test besides the proxy task; their choices are those of proxy.task. text_transformer takes
    minutes."""
    num_updates: int = 300
    """Number of updates in a lifetime of the meta-test."""
    trials: int = 16
    """Number of hyper-parameter settings that each optimizer of the meta-test is tuned over on each task; an even
    number of at least 4."""
    tuning_seeds: int = 4
    """Number of learners whose mean loss selects the setting."""
    seeds: int = 16
    """Number of other learners, by which the tuned optimizers are compared; a multiple of eval.tuning-seeds."""


@dataclass(frozen=True)
class StudyConfig:
    """Searches for an optimizer by regularised evolution from AdamW, with a search over AdamW's constants and random
    search as baselines; then compares the chosen program with tuned AdamW and Lion on other tasks.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/lion_search")
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        for name in (self.proxy.task, self.eval.validation, *self.eval.tasks):
            choose("task", name, TASKS)
        if not 0 < self.proxy.rung < 1 or not 0 < self.proxy.keep <= 1:
            raise ValueError(
                f"proxy: expected 0 < rung < 1 and 0 < keep <= 1 (got {self.proxy.rung} and {self.proxy.keep})"
            )
        if round(self.proxy.rung * self.proxy.steps) < 1 or self.proxy.learners < 1:
            raise ValueError(
                f"proxy: expected learners >= 1 and a rung of at least one step (got {self.proxy.learners} and "
                f"{self.proxy.rung} of {self.proxy.steps})"
            )
        at_least(1, self, "search.steps", "search.multiple", "search.batch", "search.population", "search.tournament")
        at_least(1, self, "search.plateau", "search.longest")
        at_least(1, self, "eval.every", "eval.validation_steps", "eval.num_updates", "eval.tuning_seeds")
        if not self.eval.tolerance >= 0:
            raise ValueError(f"eval.tolerance must not be negative (got {self.eval.tolerance})")
        if self.eval.trials < 4 or self.eval.trials % 2:
            raise ValueError(f"eval.trials must be even and at least 4 (got {self.eval.trials})")
        if self.eval.tuning_seeds < 1 or self.eval.seeds < 2 or self.eval.seeds % self.eval.tuning_seeds:
            raise ValueError(
                "eval.seeds must be at least 2 and a multiple of eval.tuning-seeds "
                f"(got {self.eval.seeds} and {self.eval.tuning_seeds})"
            )


QUICK = StudyConfig()

SMALL = StudyConfig(
    proxy=ProxyConfig(steps=500),
    search=SearchConfig(steps=400, population=1000, plateau=15_000),
    eval=EvalConfig(
        validation_steps=2000,
        every=20,
        tasks=(*QUICK.eval.tasks, "digits_conv", "text_gru", "text_transformer"),
        num_updates=1000,
        trials=32,
        tuning_seeds=8,
        seeds=32,
    ),
)

PAPER = StudyConfig(
    proxy=ProxyConfig(task="text_transformer", steps=20_000, learners=1),
    search=SearchConfig(steps=2400, multiple=4, population=1000, tournament=2, plateau=None),
    eval=EvalConfig(
        validation="text_gru",
        validation_steps=100_000,
        every=100,
        tasks=SMALL.eval.tasks,
        num_updates=20_000,
        trials=32,
        tuning_seeds=8,
        seeds=32,
    ),
)

PRESETS = {"quick": QUICK, "small": SMALL, "paper": PAPER}
