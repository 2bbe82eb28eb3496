"""The lifetime of an agent that is trained by DiscoRL's rule, and the buffer of trajectories that it samples from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from lopt import policies, returns, tree
from lopt.agents.agent import ValueBaseline
from lopt.agents.disco.agent import DiscoAgent, DiscoAgentState, DiscoNetwork
from lopt.agents.evaluate import ReturnAccumulator
from lopt.agents.lifetime import LearnerState, finish_update
from lopt.agents.rollout import EnvBatch, check_environment, num_outputs, reset, rollout_and_policy
from lopt.objectives import DiscoRegulariser, DiscoRule
from lopt.protocols import ContinuousEnvironment, Environment
from lopt.types import (
    Key,
    Level,
    Metrics,
    PyTree,
    Rates,
    RolloutScores,
    Theta,
    Trajectory,
    UpdateInfo,
    ValueScores,
    check_lifetimes,
)


class ReplayState(struct.PyTreeNode):
    """Stored trajectories, leaves `[C, T, ...]`, and the number of trajectories that were ever added."""

    stored: Any
    added: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class TrajectoryReplay:
    """Keeps the last C trajectories; every update gets a batch of them, drawn uniformly with replacement.

    Attributes:
        capacity: C, trajectories.
        batch_size: trajectories per update. Before so many are stored the agent makes no update.

    Raises:
        ValueError: sizes below one, or a batch that is larger than the buffer.
    """

    capacity: int = 1024
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.capacity:
            raise ValueError(
                "TrajectoryReplay: expected 1 <= batch_size <= capacity "
                f"(got batch_size {self.batch_size}, capacity {self.capacity})"
            )

    def init(self, batch: PyTree) -> ReplayState:
        """The empty buffer for trajectories like those of a batch `[T, B, ...]`, arrays or their shapes."""

        def empty(x: Any) -> Array:
            return jnp.zeros((self.capacity, x.shape[0], *x.shape[2:]), x.dtype)

        return ReplayState(stored=jax.tree.map(empty, batch), added=jnp.zeros((), jnp.int32))

    def add(self, state: ReplayState, batch: PyTree) -> ReplayState:
        """The buffer with the B <= C trajectories of a batch `[T, B, ...]` in the places of the oldest ones.

        Raises:
            ValueError: more trajectories than fit.
        """
        number = jax.tree.leaves(batch)[0].shape[1]
        if number > self.capacity:
            raise ValueError(f"TrajectoryReplay: capacity must be at least the {number} added (got {self.capacity})")
        slots = (state.added + jnp.arange(number)) % self.capacity
        stored = jax.tree.map(lambda old, new: old.at[slots].set(jnp.moveaxis(new, 1, 0)), state.stored, batch)
        return ReplayState(stored=stored, added=state.added + number)

    def ready(self, state: ReplayState) -> Bool[Array, ""]:
        """Whether enough trajectories are stored for an update."""
        return state.added >= self.batch_size

    def sample(self, key: Key, state: ReplayState) -> PyTree:
        """A batch `[T, batch_size, ...]` of the stored trajectories; of zeros where none is stored."""
        size = jnp.clip(state.added, 1, self.capacity)
        chosen = jax.random.randint(key, (self.batch_size,), 0, size)
        return jax.tree.map(lambda x: jnp.moveaxis(x[chosen], 0, 1), state.stored)


@dataclass(frozen=True, kw_only=True)
class DiscoLifetime:
    """The lifetime of an agent trained by DiscoRL's rule, with one update per rollout `[T, B]`; theta is the rule's.

    With `replay` the rollout is stored, and the update is made on a batch of stored trajectories. The meta-loss is the
    policy-gradient loss on a fresh rollout, with advantages of the value baseline; it is differentiable in theta.

    Attributes:
        env: the environment, with discrete actions; levels are its parameters.
        rule: the rule, learned or read by `lopt.load`.
        torso: a Flax module from one observation to a vector (`mlp_torso`).
        optimizer: of the agent's parameters; `disco_adam`.
        state_size: width of the LSTM of the agent's action model.
        hidden: hidden width of the action model's MLPs.
        num_envs: B, the number of parallel environments.
        rollout_length: T, environment steps per update.
        replay: the buffer of trajectories; None to update on each rollout alone.
        baseline: the value function for the meta-loss and the value-based level scores; None for a lifetime that is not
            meta-trained by meta-gradients.
        regulariser: auxiliary losses of the rule; None for none.
        transform_advantage: applied to the advantages `[T, B]` of the meta-loss.
        tracked_updates: number of updates whose returns are kept in the state (`ReturnAccumulator`), for
            `LifetimeReturn`; 0 for none.

    Raises:
        ValueError: `num_envs` or `rollout_length` below one, `tracked_updates` below zero, an `env` that is not an
            environment, or one with real actions; in `init`, a theta that is not of the rule's sizes, a level whose
            lifetime is known and below one, or one with factors on learning rates, of which this agent has one.

    Paper: DiscoRL (Nature 2025); evaluation (with replay) and meta-training (without) of its published notebooks.
    Differs: in the published meta-training the validation rollout is sampled by the parameters before the inner
        updates, and its advantages are those of V-trace; here it is sampled by the parameters that it evaluates, where
        V-trace is GAE.
    """

    env: Environment | ContinuousEnvironment
    rule: DiscoRule
    torso: nn.Module
    optimizer: optax.GradientTransformation
    state_size: int = 128
    hidden: int = 128
    num_envs: int = 32
    rollout_length: int = 16
    replay: TrajectoryReplay | None = None
    baseline: ValueBaseline | None = None
    regulariser: DiscoRegulariser | None = None
    transform_advantage: Callable[[Float[Array, "T B"]], Float[Array, "T B"]] = returns.normalise
    tracked_updates: int = 0

    def __post_init__(self) -> None:
        check_environment("DiscoLifetime", self.env)
        for name in ("num_envs", "rollout_length", "state_size", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"DiscoLifetime: {name} must be at least 1 (got {getattr(self, name)})")
        if self.tracked_updates < 0:
            raise ValueError(f"DiscoLifetime: tracked_updates must not be negative (got {self.tracked_updates})")
        if isinstance(self.env, ContinuousEnvironment):
            raise ValueError(
                "DiscoLifetime: actions must be discrete, since the rule reads and gives probabilities of actions "
                "(got an environment with real actions)"
            )

    @property
    def agent(self) -> DiscoAgent:
        """The agent: its network, optimizer and rule."""
        network = DiscoNetwork(
            torso=self.torso,
            num_actions=num_outputs(self.env),
            prediction_size=self.rule.prediction_size,
            num_bins=self.rule.bins.number,
            state_size=self.state_size,
            hidden=self.hidden,
        )
        return DiscoAgent(rule=self.rule, network=network, optimizer=self.optimizer)

    @property
    def score_type(self) -> type:
        """What level scores can read of an update."""
        return RolloutScores if self.baseline is None else ValueScores

    def age(self, state: LearnerState) -> Int[Array, ""]:
        """n, the inner updates done; with replay, rollouts before the first update included."""
        return state.age

    def init(self, key: Key, theta: Theta, level: Level) -> LearnerState:
        """An initial agent, with B environments at the start of an episode."""
        check_lifetimes(level)
        self.rule.check_theta(theta)
        if isinstance(level.rates, Rates):
            raise ValueError("DiscoLifetime: the agent has one optimizer; levels must have no rates (got Rates)")
        key_envs, key_agent, key_baseline = jax.random.split(key, 3)
        env_batch = reset(key_envs, self.env, level.params, self.num_envs)
        obs = jax.tree.map(lambda x: x[0], env_batch.obs)
        state = LearnerState(
            agent=self.agent.init(key_agent, obs),
            baseline=self.baseline.init(key_baseline, obs) if self.baseline else (),
            env_batch=env_batch,
            running_return=jnp.zeros(self.num_envs),
            returns=ReturnAccumulator.zeros(self.tracked_updates, self.num_envs) if self.tracked_updates else (),
            age=jnp.zeros((), jnp.int32),
        )
        if self.replay is None:
            return state
        _, *batch = jax.eval_shape(self.rollout, key, level, state)
        return state.replace(agent=state.agent.replace(replay=self.replay.init(tuple(batch))))

    def step(self, key: Key, theta: Theta, level: Level, state: LearnerState) -> tuple[LearnerState, UpdateInfo]:
        """Sample a rollout and make one update; returns the state unchanged after the lifetime.

        Metrics: "loss" and its terms ("policy_loss", "y_loss", "z_loss", "auxiliary_loss", "action_value_loss"),
        "policy_entropy" and "prediction_entropy" in nats, "lifetime_state" (root mean square of h of the lifetime
        LSTM), "reward", "best_return", and with a baseline "value_loss".
        """
        key_rollout, key_sample = jax.random.split(key)
        active = learns = level.active(state.age)
        env_batch, traj, behaviour = self.rollout(key_rollout, level, state)
        agent, batch = state.agent, (traj, behaviour)
        if self.replay is not None:
            replay = self.replay.add(agent.replay, batch)
            batch, learns = self.replay.sample(key_sample, replay), active & self.replay.ready(replay)
            agent = agent.replace(replay=tree.where(active, replay, agent.replay))
        agent, metrics, (inputs, targets) = self.agent.update(theta, agent, *batch, learns)
        aux_loss = jnp.zeros(()) if self.regulariser is None else self.regulariser.training(inputs, targets)
        return finish_update(
            level,
            state,
            (env_batch, traj),
            (agent, metrics, aux_loss),
            baseline=self.baseline,
            tracked_updates=self.tracked_updates,
        )

    def rollout(
        self, key: Key, level: Level, state: LearnerState
    ) -> tuple[EnvBatch, Trajectory, Float[Array, "T B A"]]:
        """The environments T steps later, the rollout, and the logits of the policy at every step."""
        behaviour: DiscoAgentState = jax.lax.stop_gradient(state.agent)
        sampled = rollout_and_policy(
            key, self.env, level.params, lambda o: self.agent.act(behaviour, o), state.env_batch, self.rollout_length
        )
        # stored for the backward pass, as in `RLLifetime`
        return jax.tree.map(lambda x: checkpoint_name(x, "keep"), sampled)

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: LearnerState
    ) -> tuple[Float[Array, ""], LearnerState, Metrics]:
        """Policy-gradient loss - mean[ log pi(a_t | s_t) A_t ] on a fresh rollout, with the regulariser's part.

        A are the baseline's GAE advantages after `transform_advantage`. In the returned state the environments have
        advanced by T steps and the baseline has made one update; the agent is unchanged.

        Raises:
            ValueError: the lifetime was built without a baseline, or tracks its returns, in which this rollout would be
                missing.
        """
        if self.tracked_updates:
            raise ValueError("DiscoLifetime: the meta-loss needs tracked_updates=0; LifetimeReturn has its own loss")
        if self.baseline is None:
            raise ValueError("DiscoLifetime: the meta-loss needs a value baseline (got baseline=None)")
        env_batch, traj, _ = self.rollout(key, level, state)
        baseline, estimates = self.baseline.update(state.baseline, traj, jnp.array(True))
        advantage = self.transform_advantage(estimates.advantage)
        out = self.agent.outputs(state.agent.params, traj.obs)
        loss = -(policies.log_prob(out.policy, traj.action) * advantage).mean()
        if self.regulariser is not None:
            loss = loss + self.regulariser.validation(out, traj.action)
        running_return, _ = returns.running_returns(traj.reward, traj.last, state.running_return)
        after = state.replace(env_batch=env_batch, running_return=running_return, baseline=baseline)
        return loss, after, {"meta_value_loss": estimates.loss}
