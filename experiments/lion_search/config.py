"""The configuration of a search; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.learned_optimizer.names import TASKS


@dataclass(frozen=True)
class ProxyConfig:
    """On what every candidate is tried."""

    task: str = "digits"
    """A data set's task of experiments.learned_optimizer."""
    steps: int = 200
    """Updates of a life; the paper's proxies have 20,000 to 30,000 of networks that are 1,000 times larger."""
    learners: int = 8
    """Newborns that every candidate trains; fitness is their mean score (paper: 1). Of the lead of what is best by two
    of them little is left with others (results/search_two_newborns)."""
    rung: float = 0.25
    """After this part of its first life a candidate is judged ..."""
    keep: float = 0.5
    """... and this share of a batch goes on; 1 for all."""


@dataclass(frozen=True)
class SearchConfig:
    """The search and its baselines: three searches side by side on the same proxy."""

    steps: int = 60
    """Steps of the run, in each of which every search tries about a batch of programs."""
    batch: int = 128
    """Programs that are tried together."""
    multiple: int = 1
    """Budget of each baseline, in budgets of evolution (paper: 4)."""
    population: int = 300
    """Individuals (paper: 1,000)."""
    tournament: int = 4
    """Individuals of which the best has a child (paper: 2)."""
    plateau: int | None = 1500
    """Tried programs without progress until a restart, in turn from AdamW and from the best (paper: 300,000)."""
    longest: int = 60
    """Statements that a program may have; what is left of it after pruning must fit into 32."""


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, with newborns that no search has seen."""

    validation: str = "digits_deep"
    """Larger task on which the best programs are watched: meta-validation."""
    validation_steps: int = 500
    """Updates of a life there."""
    every: int = 4
    """Steps between measurements there."""
    tolerance: float = 0.02
    """Share of its fitness that the chosen program may lose by being simplified."""
    tasks: tuple[str, ...] = ("digits_deep", "digits_autoencoder", "breast_cancer", "wine")
    """Tasks of the final table, beside the proxy's (text_transformer takes minutes)."""
    lifetime: int = 300
    """Updates of a life there."""
    trials: int = 16
    """Trials by which each optimizer of the table is tuned, on every task: a multiple of two."""
    tuning_seeds: int = 4
    """Newborns that judge a trial."""
    seeds: int = 16
    """Other newborns, by which the optimizers are compared; a multiple of tuning_seeds."""


@dataclass(frozen=True)
class StudyConfig:
    """Searches for an optimizer from AdamW by ageing evolution, beside a search of AdamW's constants alone and random
    programs; then compares what was found with tuned AdamW and Lion on other tasks.

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
        at_least(1, self, "eval.every", "eval.validation_steps", "eval.lifetime", "eval.tuning_seeds")
        if not self.eval.tolerance >= 0:
            raise ValueError(f"eval.tolerance must not be negative (got {self.eval.tolerance})")
        if self.eval.trials < 4 or self.eval.trials % 2:
            raise ValueError(f"eval.trials must be even and at least 4 (got {self.eval.trials})")
        if self.eval.tuning_seeds < 1 or self.eval.seeds < 2 or self.eval.seeds % self.eval.tuning_seeds:
            raise ValueError(
                "eval.seeds must be at least 2 and a multiple of eval.tuning-seeds "
                f"(got {self.eval.seeds} and {self.eval.tuning_seeds})"
            )
