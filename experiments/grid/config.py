"""Configuration of meta-training on grid worlds."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run, choose
from experiments.cli.evolution import ESConfig
from experiments.cli.levels import LEVELS
from experiments.grid.names import COMPATIBLE, ESTIMATORS, FITNESS, OBJECTIVES, PRIORITIES, RECURRENCES, SCORES, TIMES
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, between, multiple, positive


@dataclass(frozen=True)
class LevelsConfig:
    """The distribution of levels, and how many updates an agent makes on one."""

    distribution: str = "all"
    """Distribution of levels: all (GROOVE), small, medium, large, rand_all, mazes, generated_mazes, or a set of the LPG
    paper: dense, sparse, long_horizon, longer_horizon, long_dense, and with random objects rand_dense,
    rand_long_horizon, rand_small, rand_small_sparse, rand_very_dense."""
    num_updates: int = 250
    """Number of inner updates in a lifetime; the default is groove's "all_shortlife"."""
    shortest: int | None = None
    """Smallest number of inner updates in a lifetime. If given, lengths are drawn log-uniformly between this and
    levels.num_updates (TA paper: 10 or 50); by default all lifetimes have levels.num_updates updates."""


@dataclass(frozen=True)
class RuleConfig:
    """The rule that is meta-trained."""

    objective: str = "lpg"
    """Objective that is meta-trained: lpg, to which the other options of this group belong; scheduled_a2c (A2C with
    annealed constants, which are the meta-parameters), constant_a2c (the same without annealing), scheduled_a2c_raw and
    constant_a2c_raw (without normalised advantages), counting_a2c (constant_a2c with a count of visits), which need es
    or pes; or the import path of an object, a class or a function without arguments, for example
    mypackage.MyObjective."""
    hidden: int = 256
    """Width of the recurrent state (LPG and GROOVE: 256)."""
    prediction_size: int = 8
    """Width of the prediction vector y (GROOVE: 8, LPG: 30)."""
    embedding: int = 16
    """Hidden width of the embedding of y (GROOVE: 16)."""
    alpha_y: float = 0.5
    """Weight of the prediction loss KL(y || y_hat) in the agent's loss (GROOVE: 0.5)."""
    normalise: bool = False
    """Whether pi_hat is normalised over the rollout, as advantages are in A2C, and multiplied by a learned step size.
    GROOVE: no."""
    recurrence: str = "gru"
    """Recurrent network of the rule: gru (GROOVE) or lstm (LPG)."""
    time: str = "none"
    """Time inputs of the rule after n of N updates: none (LPG), normalised (n/N and log N; TA-LPG), fraction (n/N),
    remaining ((N-n)/N) or raw (n and N, as groove's code has them)."""
    time_init_scale: float = 1.0
    """Factor on the initial weights of the time inputs. At 0 the untrained rule does not depend on time."""
    start: str | None = None
    """Start of meta-training: a2c, for a rule that imitates A2C (about a minute, before the first meta-step); a rule
    file of one of these forms of A2C (runs/<name>/rule), for one that imitates that; or a rule file of the same
    architecture. {seed} in a file's name stands for run.seed, so that runs that differ in the seed alone have equal
    options (runs/constants_{seed}/rule). By default theta is drawn at random."""


@dataclass(frozen=True)
class AgentConfig:
    """The agents, and the A2C agent that is baseline and antagonist."""

    num_envs: int = 64
    """Number of parallel environments per agent (GROOVE: 64)."""
    rollout_length: int = 20
    """Number of environment steps per update in each environment (GROOVE: 20)."""
    policy_rate: float = 40.0
    """SGD learning rate of a tabular policy (GROOVE: 40)."""
    prediction_rate: float = 4.0
    """SGD learning rate of a tabular prediction y (groove's code: 4). At 4, y hardly leaves its initialisation, because
    its gradient is a thousand times smaller than the policy's; the presets quick, small and ta use 100."""
    value_rate: float = 4.0
    """SGD learning rate of a tabular value function (groove's code: 4)."""
    a2c_rate: float = 40.0
    """SGD learning rate of the tabular policy of A2C, the baseline and antagonist (GROOVE: 40)."""
    raw_a2c_rate: float = 320.0
    """The same for A2C without normalised advantages, the second baseline of the report; 320 is its best rate on the
    levels all with 50 updates."""
    max_norm: float = 0.5
    """Gradient norm at which the updates of a tabular agent are clipped (GROOVE: 0.5)."""
    net_rate: float = 1e-3
    """Adam's learning rate for agents with networks, which are used where observations are planes (GROOVE: 1e-3)."""
    net_hidden: tuple[int, ...] = (32,)
    """Hidden widths of agents with networks (GROOVE: 32)."""
    net_channels: tuple[int, ...] = ()
    """Channels of 3x3 convolutions before the hidden layers of agents with networks; none by default."""
    gamma: float = 0.99
    """Discount factor (GROOVE: 0.99)."""
    lam: float = 0.95
    """Lambda of generalised advantage estimation (GROOVE: 0.95)."""
    entropy_weight: float = 0.01
    """Weight of the entropy bonus in A2C's loss (GROOVE: 0.01)."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop."""

    estimator: str = "meta_gradient"
    """Estimator of the gradient in theta: meta_gradient (through K updates; LPG, GROOVE), es (evolution strategies
    over whole lifetimes; TA-LPG, see the es options) or pes (persistent evolution strategies, K updates at a time)."""
    fitness: str = "final"
    """What es and pes maximise: final (mean return of fresh episodes at the end of the lifetime; TA-LPG), lifetime
    (mean return over the lifetime, from its own episodes) or second_half (the same over its second half, with es)."""
    num_steps: int = 5000
    """Number of meta-steps (groove's README: 5,000); with 0 the initial rule is tested as it is."""
    num_lifetimes: int = 64
    """Number of lifetimes trained side by side (GROOVE: 512). With es it is the number of levels, on each of which a
    pair of perturbed rules is evaluated (TA: 512)."""
    num_updates: int = 5
    """Number K of inner updates per meta-step (LPG: 5); es ignores it and runs whole lifetimes."""
    learning_rate: float = 1e-4
    """Adam's learning rate for theta (GROOVE: 1e-4)."""
    final_rate: float = 1.0
    """Fraction of the learning rate that is left at the last meta-step, after a cosine decay; 1 keeps the rate
    constant, as in GROOVE."""
    max_norm: float = 1.0
    """Norm at which the meta-gradient is clipped; inf turns clipping off. groove's code sets 1, but does not clip with
    Adam."""
    lifetime_norm: float | None = None
    """Norm at which the meta-gradient of each lifetime is clipped before the mean over lifetimes is taken. By default
    only the mean is clipped."""
    policy_entropy: float = 5e-2
    """Weight beta0 of the bonus for the policy's entropy in the meta-objective (GROOVE: 0.05)."""
    prediction_entropy: float = 1e-3
    """Weight beta1 of the bonus for the entropy of y in the meta-objective (GROOVE: 1e-3)."""
    pi_hat_l2: float = 5e-3
    """Weight beta2 of the penalty on pi_hat squared in the meta-objective (GROOVE: 5e-3)."""
    y_hat_l2: float = 1e-3
    """Weight beta3 of the penalty on y_hat squared in the meta-objective (GROOVE: 1e-3)."""
    chunk_size: int | None = 16
    """Number of lifetimes differentiated at once, a divisor of meta.num-lifetimes. It bounds the memory; None stands
    for all."""
    remat: bool = False
    """Whether inner updates are recomputed in the backward pass, which takes less memory and more time."""
    steps_per_chunk: int = 20
    """Number of meta-steps per compiled call. Metrics are logged and signals are handled once per call."""


@dataclass(frozen=True)
class CurriculumConfig:
    """Level replay (GROOVE). With score uniform, only the arms have an effect."""

    buffer: int = 4000
    """Number of levels in the replay buffer (GROOVE: 4000), at least twice meta.num-lifetimes."""
    replay_probability: float = 0.5
    """Probability that a new lifetime replays a level of the buffer (GROOVE: 0.5)."""
    priority: str = "rank"
    """How scores become replay probabilities: rank (proportional to rank^(-1/temperature); GROOVE) or proportional (a
    softmax of score/temperature)."""
    temperature: float = 0.3
    """Temperature of the priority; towards 0 the highest score is always replayed (PLR on grid worlds: 0.3)."""
    staleness: float = 0.0
    """Share of the replay probability that grows with the time since a level was last used (GROOVE: 0, PLR: 0.1)."""
    episodes: int = 64
    """Number of episodes in which an agent is evaluated at the end of its lifetime for the score of its level (GROOVE:
    64)."""
    rate_arms: tuple[float, ...] = ()
    """Factors on the policy's learning rate, among which a bandit chooses one for every lifetime by the rewards of
    earlier lifetimes; needs score uniform. LPG has 0.5 1 2 around its rate; none by default, as in GROOVE."""
    prediction_arms: tuple[float, ...] = (1.0,)
    """Factors on the prediction's learning rate, crossed with curriculum.rate-arms (LPG's arms of alpha_y: 0.2 1 2)."""


@dataclass(frozen=True)
class EvalConfig:
    """Meta-testing: agents trained from scratch on held-out levels."""

    every: int = 500
    """Number of meta-steps between points of the validation curve, a multiple of meta.steps-per-chunk."""
    levels: int = 256
    """Number of held-out levels of the validation curve."""
    final_levels: int = 1536
    """Number of held-out levels of the final table; they are not those of the validation curve."""
    seeds: int = 2
    """Number of agents per level in the final table."""
    episodes: int = 16
    """Number of episodes in which a trained agent is evaluated."""


@dataclass(frozen=True)
class StudyConfig:
    """Meta-trains a learned policy gradient on procedural grid worlds, and compares it with A2C on held-out levels.

    Raises:
        ValueError: an unknown name, a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/groove")
    score: str = "alg_regret"
    """Score by which levels are replayed: alg_regret (algorithmic regret; GROOVE), pvl (positive value loss), l1 (mean
    absolute advantage), maxmc, optimal_regret, random_regret, uniform for new levels only (LPG), or an import path,
    mypackage.MyScore."""
    compat: tuple[str, ...] = ()
    """Choices of GROOVE's published code to reproduce, for comparison with its curves; none by default.
    frozen-value-baseline: the value baseline is never trained.
    mean-advantage: every step of a rollout gets the mean advantage of the rollout.
    raw-time: rules with time normalised get n and N themselves.
    level-flag-bug: the flags of the level buffer are rebuilt from the wrong array.
    deterministic-replay: the levels with the highest scores are replayed, without sampling.
    stopped-rule-inputs: no meta-gradient flows through the inputs of the rule, so that y_hat is not learned.
    groove: all of these."""
    levels: LevelsConfig = field(default_factory=LevelsConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    es: ESConfig = field(default_factory=ESConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        choose("score", self.score, SCORES, extensible=True)
        choose("objective", self.rule.objective, OBJECTIVES, extensible=True)
        choose("level distribution", self.levels.distribution, LEVELS, extensible=True)
        choose("recurrence", self.rule.recurrence, RECURRENCES)
        choose("time conditioning", self.rule.time, TIMES)
        choose("priority", self.curriculum.priority, PRIORITIES)
        choose("estimator", self.meta.estimator, ESTIMATORS)
        choose("fitness", self.meta.fitness, dict.fromkeys(FITNESS))
        if self.curriculum.rate_arms and self.score != "uniform":
            raise ValueError(
                f"curriculum.rate-arms needs score uniform: the bandit learns from rewards, not from {self.score} "
                f"(got rate-arms {self.curriculum.rate_arms})"
            )
        for name in self.compat:
            choose("compat", name, COMPATIBLE)
        self.es.check(self.meta.num_lifetimes)
        self._check_numbers()
        self._check_sizes()

    def _check_numbers(self) -> None:
        """Check the range of every number."""
        at_least(1, self, "rule.hidden", "rule.prediction_size", "rule.embedding", "meta.num_updates")
        at_least(1, self, "agent.num_envs", "agent.rollout_length", "agent.net_hidden", "agent.net_channels")
        at_least(1, self, "meta.num_lifetimes", "curriculum.buffer", "curriculum.episodes")
        at_least(1, self, "eval.seeds", "eval.episodes", "eval.levels", "eval.final_levels")
        at_least(0, self, "rule.alpha_y", "rule.time_init_scale", "agent.prediction_rate", "agent.value_rate")
        at_least(0, self, "agent.entropy_weight", "meta.policy_entropy", "meta.prediction_entropy")
        at_least(0, self, "meta.pi_hat_l2", "meta.y_hat_l2", "meta.final_rate")
        positive(self, "agent.policy_rate", "agent.a2c_rate", "agent.raw_a2c_rate", "agent.net_rate")
        positive(self, "meta.learning_rate", "curriculum.temperature")
        positive(self, "curriculum.rate_arms", "curriculum.prediction_arms")
        positive(self, "agent.max_norm", "meta.max_norm", "meta.lifetime_norm", infinite=True)
        between(0, 1, self, "agent.gamma", "agent.lam", "curriculum.replay_probability", "curriculum.staleness")

    def _check_sizes(self) -> None:
        meta, capacity = self.meta, self.curriculum.buffer
        if meta.chunk_size is not None and (meta.chunk_size < 1 or meta.num_lifetimes % meta.chunk_size):
            raise ValueError(
                f"meta.chunk-size must divide meta.num-lifetimes (got {meta.chunk_size} and {meta.num_lifetimes}); "
                f"it can be {_divisors(meta.num_lifetimes)}"
            )
        if self.score != "uniform" and capacity < 2 * meta.num_lifetimes:
            raise ValueError(
                "curriculum.buffer must be at least twice meta.num-lifetimes "
                f"(got {capacity} and {meta.num_lifetimes}, expected >= {2 * meta.num_lifetimes})"
            )
        if not 1 <= (self.levels.shortest or 1) <= self.levels.num_updates:
            raise ValueError(
                f"levels.shortest must be between 1 and levels.num_updates (got {self.levels.shortest} and "
                f"{self.levels.num_updates})"
            )
        check_sizes(meta.num_steps, meta.steps_per_chunk, smallest=0)
        multiple(self, "eval.every", of="meta.steps_per_chunk")

    @property
    def start(self) -> str | None:
        """The start of meta-training: `rule.start` with the seed in its place."""
        return None if self.rule.start is None else self.rule.start.replace("{seed}", str(self.run.seed))

    @property
    def updates_per_step(self) -> int:
        """Inner updates of a lifetime in one meta-step: K, or with evolution strategies the whole lifetime."""
        return self.levels.num_updates if self.meta.estimator == "es" else self.meta.num_updates

    @property
    def reproduces(self) -> frozenset[str]:
        """The choices of GROOVE's published code to reproduce, with `groove` replaced by all of them."""
        everything = frozenset(COMPATIBLE) - {"groove"}
        return everything if "groove" in self.compat else frozenset(self.compat)


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)
