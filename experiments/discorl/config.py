"""Configuration of meta-training and meta-testing DiscoRL's rule."""

from dataclasses import dataclass, field

from experiments.cli.command_line import Run
from lopt.training import RunConfig, check_sizes
from lopt.training.checks import at_least, between, multiple, positive

CATCH = "catch"


@dataclass(frozen=True)
class EnvConfig:
    """The environment of the agents."""

    name: str = CATCH
    """Environment: catch (a ball falls over a board of env.rows x env.columns and is to be caught; return 1 or -1 per
    episode), a gymnax name with discrete actions, or grid/<level distribution>."""
    rows: int = 5
    """Rows of the board of catch; an episode has one step less."""
    columns: int = 5
    """Columns of the board of catch."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a rule that is meta-trained; the sizes of a rule file are its own."""

    prediction_size: int = 32
    """Width M of the predictions y and z (Disco103: 600)."""
    hidden: int = 64
    """Width of the rule's LSTM over the trajectory (Disco103: 256)."""
    lifetime_hidden: int = 32
    """Width of the rule's LSTM over the updates of a lifetime (Disco103: 128)."""
    bins: int = 51
    """Number of bins of the agents' action values, odd (Disco103: 601)."""
    bin_limit: float = 10.0
    """Largest transformed value that the bins cover (Disco103: 300)."""


@dataclass(frozen=True)
class AgentConfig:
    """The agents that the rule trains."""

    torso: tuple[int, ...] = (64,)
    """Widths of the layers of the agent's torso; only the last one in grid worlds with tables (DiscoRL: 512, 512)."""
    state_size: int = 32
    """Width of the LSTM of the agent's action model (DiscoRL: 128)."""
    hidden: int = 32
    """Hidden width of the MLPs behind the action model (DiscoRL: 128)."""
    num_envs: int = 32
    """Number of parallel environments per agent (DiscoRL: 32 for meta-training, 2 with replay)."""
    rollout_length: int = 16
    """Number of environment steps per update in each environment (DiscoRL: 16, 28 with replay)."""
    learning_rate: float = 3e-3
    """Learning rate of the agent's Adam, with steps clipped to 1 (DiscoRL: 5e-4 for meta-training, 1e-2 on Catch)."""
    replay: int = 0
    """Number of trajectories in the agent's replay buffer; 0 to update on each rollout alone (DiscoRL: 1024)."""
    batch_size: int = 64
    """Number of trajectories per update with replay (DiscoRL: 64)."""
    num_updates: int = 800
    """Number of inner updates in a lifetime of meta-training (DiscoRL's notebook: without end)."""


@dataclass(frozen=True)
class MetaConfig:
    """The outer loop: meta-gradients through the agents' updates."""

    num_steps: int = 700
    """Number of meta-steps (DiscoRL's notebook: 800). In the default preset the agents are replaced after 400;
    after 400 alone, new agents learned nothing under the rule."""
    num_lifetimes: int = 2
    """Number of lifetimes trained side by side (DiscoRL's notebook: 2)."""
    num_updates: int = 2
    """Number of inner updates per meta-step (DiscoRL's notebook: 2; paper: 20)."""
    learning_rate: float = 1e-3
    """Adam's learning rate for theta (DiscoRL's notebook: 5e-4)."""
    max_norm: float = float("inf")
    """Norm at which the meta-gradient is clipped; inf turns clipping off, as in DiscoRL's notebook."""
    lifetime_norm: float | None = None
    """Norm at which the meta-gradient of each lifetime is clipped before the mean over lifetimes is taken. By default
    it is not clipped."""
    critic: tuple[int, ...] = (64,)
    """Hidden widths of the value function of the meta-loss (DiscoRL's notebook: 256, 256)."""
    critic_rate: float = 1e-3
    """Adam's learning rate of that value function (DiscoRL's notebook: 1e-3)."""
    gamma: float = 0.99
    """Discount factor of the meta-loss (DiscoRL's notebook: 0.99)."""
    lam: float = 0.96
    """Lambda of the advantages in the meta-loss (DiscoRL's notebook: 0.96)."""
    policy_entropy: float = 1e-2
    """Weight of the bonus for the policy's entropy in the meta-loss (DiscoRL's notebook: 1e-2)."""
    prediction_entropy: float = 1e-3
    """Weight of the bonus for the entropies of y and z in the meta-loss (DiscoRL's notebook: 1e-3)."""
    target_mean: float = 1e-3
    """Weight of the penalty on the mean logits of the targets (DiscoRL's notebook: 1e-3)."""
    target_kl: float = 1e-2
    """Weight of the divergence of the policy's target from the target network's policy (DiscoRL's notebook: 1e-2)."""
    chunk_size: int | None = None
    """Number of lifetimes differentiated at once, a divisor of meta.num-lifetimes. It bounds the memory; None stands
    for all."""
    remat: bool = False
    """Whether inner updates are recomputed in the backward pass, which takes less memory and more time."""
    steps_per_chunk: int = 10
    """Number of meta-steps per compiled call. Metrics are logged and signals are handled once per call."""


@dataclass(frozen=True)
class EvalConfig:
    """Meta-testing: agents trained from scratch under the rule, which no longer changes."""

    every: int = 350
    """Number of meta-steps between points of the validation curve, a multiple of meta.steps-per-chunk."""
    num_updates: int = 600
    """Number of inner updates of an agent that is trained under the rule (with replay, the number of rollouts)."""
    validation_seeds: int = 2
    """Number of agents of the validation curve."""
    seeds: int = 8
    """Number of agents per rule in the final table, with other seeds than those of the validation."""
    episodes: int = 64
    """Number of episodes in which a trained agent is evaluated."""
    untrained: bool = True
    """Whether agents are also trained under an untrained rule of the same sizes, for comparison."""


@dataclass(frozen=True)
class DiscoStudyConfig:
    """Meta-trains DiscoRL's rule by meta-gradients and trains agents from scratch under it, or, with a rule file, only
    the latter.

    Raises:
        ValueError: a number out of range, or sizes that do not fit together.
    """

    run: Run = RunConfig(out="runs/disco")
    rule: str | None = None
    """Rule file to evaluate in the place of meta-training: runs/disco/rule, or DiscoRL's disco_103.npz. By default a
    new rule is meta-trained."""
    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if not self.agent.torso:
            raise ValueError("agent.torso must name at least one width (got none)")
        check_sizes(self.meta.num_steps, self.meta.steps_per_chunk)
        multiple(self, "eval.every", of="meta.steps_per_chunk")
        at_least(2, self, "env.rows", "env.columns", "eval.seeds")
        at_least(1, self, "network.prediction_size", "network.hidden", "network.lifetime_hidden", "agent.torso")
        at_least(1, self, "agent.state_size", "agent.hidden", "agent.num_envs", "agent.rollout_length")
        at_least(1, self, "agent.num_updates", "agent.batch_size", "meta.num_lifetimes", "meta.num_updates")
        at_least(1, self, "meta.critic", "eval.num_updates", "eval.episodes", "eval.validation_seeds")
        at_least(0, self, "agent.replay")
        positive(self, "network.bin_limit", "agent.learning_rate", "meta.learning_rate", "meta.critic_rate")
        positive(self, "meta.max_norm", infinite=True)
        between(0, 1, self, "meta.gamma", "meta.lam")
        if self.agent.replay and self.agent.replay < max(self.agent.batch_size, self.agent.num_envs):
            raise ValueError(
                "agent.replay must be 0, or at least agent.batch-size and agent.num-envs "
                f"(got {self.agent.replay}, {self.agent.batch_size} and {self.agent.num_envs})"
            )


QUICK = DiscoStudyConfig()

DISCO103 = DiscoStudyConfig(
    run=RunConfig(out="runs/disco103"),
    env=EnvConfig(rows=8, columns=8),
    agent=AgentConfig(
        torso=(512, 512),
        state_size=128,
        hidden=128,
        num_envs=2,
        rollout_length=28,
        learning_rate=1e-2,
        replay=1024,
    ),
    eval=EvalConfig(num_updates=1000, seeds=3, untrained=False),
)
"""The evaluation of DiscoRL's published notebook on Catch, for --rule disco_103.npz."""

PUBLISHED = DiscoStudyConfig(
    run=RunConfig(out="runs/disco_published"),
    network=NetworkConfig(prediction_size=600, hidden=256, lifetime_hidden=128, bins=601, bin_limit=300.0),
    agent=AgentConfig(torso=(512, 512), state_size=256, hidden=256, learning_rate=5e-4, num_updates=1600),
    meta=MetaConfig(num_steps=800, learning_rate=5e-4, critic=(256, 256)),
    eval=EvalConfig(every=400),
)
"""The sizes of DiscoRL's published notebook for meta-training, with one lifetime as long as the run."""

PRESETS = {"quick": QUICK, "disco103": DISCO103, "published": PUBLISHED}
