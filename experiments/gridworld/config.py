"""The configuration of meta-training on grid worlds; every field says its unit and where its value comes from."""

from dataclasses import dataclass, field

from experiments.common.checks import at_least, between, positive
from experiments.common.cli import choose
from experiments.common.config import Run, RunConfig
from experiments.common.evolution import ESConfig
from experiments.common.loop import check_sizes
from experiments.gridworld.names import (
    COMPATIBLE,
    ESTIMATORS,
    LEVELS,
    PRIORITIES,
    RECURRENCES,
    SCORES,
    TIMES,
)


@dataclass(frozen=True)
class LevelsConfig:
    """Which levels, and how long an agent lives on one."""

    distribution: str = "all"
    """all, small, medium, large, rand_all, mazes, generated_mazes, or a set of the LPG paper: dense, sparse,
    long_horizon, longer_horizon, long_dense, and the same with random objects, rand_dense, ..."""
    lifetime: int = 250
    """Inner updates of a life; 250 is groove's default ("all_shortlife")."""
    shortest: int | None = None
    """If given, lifetimes are log-uniform between this and `lifetime` (TA paper: 10 or 50)."""


@dataclass(frozen=True)
class RuleConfig:
    """The learned policy gradient."""

    hidden: int = 256
    """Width of the recurrent state (LPG and GROOVE: 256)."""
    prediction_size: int = 8
    """Width of the prediction vector y (GROOVE: 8, LPG: 30)."""
    embedding: int = 16
    """Hidden width of y's embedding (GROOVE: 16)."""
    alpha_y: float = 0.5
    """Weight of the prediction's loss (GROOVE: 0.5)."""
    recurrence: str = "gru"
    """gru (GROOVE) or lstm (LPG)."""
    time: str = "none"
    """What the rule is told of time: none (LPG), normalised (n/N, log N; TA-LPG), fraction (n/N), remaining ((N-n)/N),
    raw (groove's n, N)."""
    time_scale: float = 1.0
    """Scale of the initial weights of time: at 0 a rule begins as one that is not told it."""
    start: str | None = None
    """A rule file to start from (runs/<name>/rule), of the same widths; by default the rule starts at random."""


@dataclass(frozen=True)
class AgentConfig:
    """The agents and the antagonist."""

    num_envs: int = 64
    """Environments an agent plays side by side (GROOVE: 64)."""
    rollout_length: int = 20
    """Steps per update (GROOVE: 20)."""
    policy_rate: float = 40.0
    """SGD learning rate of a tabular policy (GROOVE: 40)."""
    prediction_rate: float = 4.0
    """SGD learning rate of a tabular prediction (groove's code: 4, at which y stays where it was born: its gradient is
    a thousand times smaller than the policy's. The presets have 100)."""
    value_rate: float = 4.0
    """SGD learning rate of a tabular value (groove's code: 4)."""
    max_norm: float = 0.5
    """Gradient norm at which a tabular agent's updates are clipped (GROOVE: 0.5)."""
    net_rate: float = 1e-3
    """Adam learning rate of agents with networks, on levels seen as planes (GROOVE: 1e-3)."""
    net_hidden: tuple[int, ...] = (32,)
    """Hidden widths of those networks (GROOVE: 32)."""
    net_channels: tuple[int, ...] = ()
    """Channels of 3x3 convolutions before them; none by default."""
    gamma: float = 0.99
    """Discount factor (GROOVE: 0.99)."""
    lam: float = 0.95
    """GAE's lambda (GROOVE: 0.95)."""
    entropy_weight: float = 0.01
    """A2C's entropy bonus (GROOVE: 0.01)."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    estimator: str = "meta_gradient"
    """meta_gradient (LPG, GROOVE) or es (TA-LPG: whole lives, see the es options)."""
    num_steps: int = 5000
    """Meta-steps (groove's README: 5,000)."""
    num_lifetimes: int = 64
    """Lifetimes trained side by side (GROOVE: 512); with es, levels that a pair of rules each lives on (TA: 512)."""
    num_updates: int = 5
    """K, inner updates per meta-step (LPG: 5)."""
    learning_rate: float = 1e-4
    """Adam's learning rate for the rule (GROOVE: 1e-4)."""
    final_rate: float = 1.0
    """The learning rate falls to this fraction of itself (cosine); 1 keeps it constant."""
    max_norm: float = 1.0
    """The meta-gradient's norm is clipped to this (groove's Adam path forgets to clip)."""
    lifetime_norm: float | None = None
    """One lifetime's meta-gradient is scaled down to this norm before the mean over lifetimes; none by default."""
    policy_entropy: float = 5e-2
    """beta0: reward for the policy's entropy (GROOVE: 0.05)."""
    prediction_entropy: float = 1e-3
    """beta1: reward for y's entropy (GROOVE: 1e-3)."""
    pi_hat_l2: float = 5e-3
    """beta2: penalty on pi_hat squared (GROOVE: 5e-3)."""
    y_hat_l2: float = 1e-3
    """beta3: penalty on y_hat squared (GROOVE: 1e-3)."""
    chunk_size: int | None = 16
    """Lifetimes differentiated at once (bounds memory, a divisor of num_lifetimes); None for all."""
    remat: bool = False
    """Recompute inner updates in the backward pass: less memory for more time."""
    steps_per_chunk: int = 20
    """Meta-steps per compiled call: how often metrics are logged and signals are seen."""


@dataclass(frozen=True)
class CurriculumConfig:
    """Level replay (GROOVE); ignored with score uniform."""

    buffer: int = 4000
    """Levels kept (GROOVE: 4000); at least twice the lifetimes."""
    replay_probability: float = 0.5
    """Chance that a new life replays a kept level (GROOVE: 0.5)."""
    priority: str = "rank"
    """rank (weights rank^(-1/temperature)) or proportional."""
    temperature: float = 0.3
    """Of the priority; small is greedy (PLR: 0.3 on grid worlds)."""
    staleness: float = 0.0
    """Share of the replay weight that goes by age (GROOVE: none; PLR: 0.1)."""
    episodes: int = 64
    """Episodes that measure a finished agent for its level's score (GROOVE: 64)."""
    rate_arms: tuple[float, ...] = ()
    """Factors on the agents' policy learning rate among which a bandit chooses for every life, by the reward of lives
    so far; needs score uniform (LPG: 0.5 1 2 around its rate). None by default, as in GROOVE."""
    prediction_arms: tuple[float, ...] = (1.0,)
    """The bandit's factors on the prediction's learning rate (LPG's arms of alpha_y: 0.2 1 2); crossed with
    rate-arms."""


@dataclass(frozen=True)
class EvalConfig:
    """What is measured on levels that were never trained on."""

    every: int = 500
    """Meta-steps between measurements."""
    levels: int = 32
    """Held-out levels of the learning curve."""
    final_levels: int = 64
    """Held-out levels of the final table (other ones)."""
    seeds: int = 4
    """Agent seeds of the final table."""
    episodes: int = 16
    """Episodes that measure an agent."""


@dataclass(frozen=True)
class StudyConfig:
    """Meta-trains a learned policy gradient on procedural grid worlds, and compares it with A2C on new levels.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/groove")
    score: str = "alg_regret"
    """What makes a level worth replaying: alg_regret, uniform (no replay: plain LPG), pvl, l1, maxmc,
    optimal_regret, random_regret."""
    compat: tuple[str, ...] = ()
    """Choices of the official code to reproduce, for comparing curves: any of G1 G2 G3 G6 G7 G23 (see names.py),
    or groove for all."""
    levels: LevelsConfig = field(default_factory=LevelsConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    es: ESConfig = field(default_factory=ESConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        choose("score", self.score, SCORES)
        choose("level distribution", self.levels.distribution, LEVELS)
        choose("recurrence", self.rule.recurrence, RECURRENCES)
        choose("time conditioning", self.rule.time, TIMES)
        choose("priority", self.curriculum.priority, PRIORITIES)
        choose("estimator", self.meta.estimator, ESTIMATORS)
        if self.curriculum.rate_arms and self.score != "uniform":
            raise ValueError(
                f"curriculum.rate-arms needs score uniform: the bandit is told rewards, not {self.score} "
                f"(got rate-arms {self.curriculum.rate_arms})"
            )
        for name in self.compat:
            choose("compat", name, COMPATIBLE)
        self.es.check(self.meta.num_lifetimes)
        self._check_numbers()
        self._check_sizes()

    def _check_numbers(self) -> None:
        """Every number alone: counts, rates, fractions."""
        at_least(1, self, "rule.hidden", "rule.prediction_size", "rule.embedding", "meta.num_updates")
        at_least(1, self, "agent.num_envs", "agent.rollout_length", "agent.net_hidden", "agent.net_channels")
        at_least(1, self, "meta.num_lifetimes", "curriculum.buffer", "curriculum.episodes")
        at_least(1, self, "eval.seeds", "eval.episodes", "eval.levels", "eval.final_levels")
        at_least(0, self, "rule.alpha_y", "rule.time_scale", "agent.prediction_rate", "agent.value_rate")
        at_least(0, self, "agent.entropy_weight", "meta.policy_entropy", "meta.prediction_entropy")
        at_least(0, self, "meta.pi_hat_l2", "meta.y_hat_l2", "meta.final_rate")
        positive(self, "agent.policy_rate", "agent.net_rate", "meta.learning_rate", "curriculum.temperature")
        positive(self, "curriculum.rate_arms", "curriculum.prediction_arms")
        positive(self, "agent.max_norm", "meta.max_norm", "meta.lifetime_norm", infinite=True)
        between(0, 1, self, "agent.gamma", "agent.lam", "curriculum.replay_probability", "curriculum.staleness")

    def _check_sizes(self) -> None:
        meta, kept = self.meta, self.curriculum.buffer
        if meta.chunk_size is not None and (meta.chunk_size < 1 or meta.num_lifetimes % meta.chunk_size):
            raise ValueError(
                f"meta.chunk-size must divide meta.num-lifetimes (got {meta.chunk_size} and {meta.num_lifetimes}); "
                f"it can be {_divisors(meta.num_lifetimes)}"
            )
        if self.score != "uniform" and kept < 2 * meta.num_lifetimes:
            raise ValueError(
                f"curriculum.buffer must be at least twice meta.num-lifetimes (got {kept} and {meta.num_lifetimes}, "
                f"expected >= {2 * meta.num_lifetimes})"
            )
        if not 1 <= (self.levels.shortest or 1) <= self.levels.lifetime:
            raise ValueError(
                f"levels.shortest must be between 1 and levels.lifetime (got {self.levels.shortest} and "
                f"{self.levels.lifetime})"
            )
        check_sizes(meta.num_steps, meta.steps_per_chunk)
        if self.eval.every < 1 or self.eval.every % meta.steps_per_chunk:
            raise ValueError(
                f"eval.every must be a multiple of meta.steps-per-chunk (got {self.eval.every} and "
                f"{meta.steps_per_chunk})"
            )

    @property
    def updates_per_step(self) -> int:
        """Inner updates of a lifetime in one meta-step: K, or with evolution strategies the whole life."""
        return self.levels.lifetime if self.meta.estimator == "es" else self.meta.num_updates

    @property
    def reproduces(self) -> frozenset[str]:
        """The defects of the official code to reproduce."""
        everything = frozenset(COMPATIBLE) - {"groove"}
        return everything if "groove" in self.compat else frozenset(self.compat)


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)
