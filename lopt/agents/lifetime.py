"""The lifetime of an RL agent that makes one update per rollout by a learned or a hand-designed objective."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from lopt import policies, returns, tree
from lopt.agents.agent import Agent, AgentState, ValueBaseline
from lopt.agents.evaluate import ReturnAccumulator
from lopt.agents.rollout import EnvBatch, check_environment, num_outputs, reset, rollout
from lopt.agents.trainable import TrainableFactory, apply_many
from lopt.protocols import ContinuousEnvironment, Environment, Objective
from lopt.types import (
    AgentOutput,
    Key,
    Level,
    Metrics,
    Progress,
    RolloutScores,
    Theta,
    Trajectory,
    UpdateInfo,
    ValueScores,
    check_lifetimes,
)


class LearnerState(struct.PyTreeNode):
    """State of a learner in an `RLLifetime` or a `DiscoLifetime`.

    Attributes:
        agent: its agent's state.
        baseline: the value baseline's state; `()` without one.
        env_batch: the B environments.
        running_return: the return so far of the episode in progress in each environment.
        returns: the returns of the whole lifetime (`ReturnAccumulator`); `()` if they are not tracked.
        age: n, the updates done.
    """

    agent: Any
    baseline: Any
    env_batch: EnvBatch
    running_return: Float[Array, " B"]
    returns: Any
    age: Int[Array, ""]


def finish_update(
    level: Level,
    state: LearnerState,
    collected: tuple[EnvBatch, Trajectory],
    updated: tuple[Any, Metrics, Float[Array, ""]],
    *,
    baseline: ValueBaseline | None,
    tracked_updates: int,
) -> tuple[LearnerState, UpdateInfo]:
    """The learner state after an update of its agent, and what the update reports.

    The baseline makes its update on the rollout; returns and environments advance. After the end of the lifetime
    the state is unchanged.

    Args:
        level: the level.
        state: the state before the update.
        collected: the environments after the rollout, and the rollout.
        updated: the agent after the update (unchanged after the end of the lifetime), its metrics, and the auxiliary
            loss.
        baseline: of the lifetime.
        tracked_updates: of the lifetime.
    """
    (env_batch, traj), (agent, metrics, aux_loss) = collected, updated
    active = level.active(state.age)
    running_return, sums = returns.running_returns(traj.reward, traj.last, state.running_return)
    reward, best_return = traj.reward.mean(), jnp.where(traj.last, sums, -jnp.inf).max()
    metrics = metrics | {"reward": reward, "best_return": best_return}
    scores, value = RolloutScores(reward, best_return), state.baseline
    if baseline is not None:
        value, estimates = baseline.update(value, traj, active)
        metrics["value_loss"] = estimates.loss
        scores = ValueScores(
            reward=reward,
            best_return=best_return,
            value=estimates.value.mean(),
            positive_advantage=jnp.maximum(estimates.advantage, 0.0).mean(),
            absolute_advantage=jnp.abs(estimates.advantage).mean(),
        )
    tracked = state.returns.add(state.age, traj.last, sums) if tracked_updates else ()
    # after the lifetime the modules' own updates are the identity: a selection here would copy their tables
    env_batch, running_return, tracked = tree.where(
        active, (env_batch, running_return, tracked), (state.env_batch, state.running_return, state.returns)
    )
    age = state.age + active.astype(state.age.dtype)
    after = LearnerState(agent, value, env_batch, running_return, tracked, age)
    return after, UpdateInfo(metrics, aux_loss, scores)


@dataclass(frozen=True, kw_only=True)
class RLLifetime:
    """The lifetime of an RL agent trained by `objective`, with one update per rollout `[T, B]`.

    It serves learned (LPG) and hand-designed (A2C) objectives alike. The meta-loss is the policy-gradient loss on a
    fresh rollout, with advantages of the value baseline; it is differentiable in theta.

    The optimizers of the policy and of the prediction may take the extra arguments of `LearnedOptimizer`: they get
    `value`, `progress`, `key`, `dormancy`, and `explore` for the policy alone. `LearnedOptimizerLifetime` makes a
    learned optimizer's meta-parameters the theta of this lifetime.

    Attributes:
        env: the environment; levels are its parameters.
        objective: the objective.
        policy: factory from the number of outputs to the policy, a trainable module (network or table).
        prediction: factory of the prediction; not used by an objective with `prediction_size` 0.
        num_envs: B, the number of parallel environments.
        rollout_length: T, environment steps per update.
        baseline: the value function for the meta-objective and the value-based level scores; None for a lifetime that
            is not meta-trained (an antagonist, or a baseline to compare with).
        regulariser: from the outputs of the updated agent on its rollout, and the objective's targets, to an auxiliary
            loss of the rule (`UpdateInfo.aux_loss`); None for no such loss.
        transform_advantage: applied to the advantages `[T, B]` of the meta-loss.
        tracked_updates: number of updates whose returns are kept in the state (`ReturnAccumulator`), for
            `LifetimeReturn`; 0 for none.

    Raises:
        ValueError: `num_envs` or `rollout_length` below one, `tracked_updates` below zero, an `env` that is not an
            environment, or one with real actions; a level whose lifetime is known and below one (in `init`).

    Paper: arXiv 2007.08794, algorithm 1 (inner loop); arXiv 2310.02782, appendix.
    """

    env: Environment | ContinuousEnvironment
    objective: Objective
    policy: TrainableFactory
    prediction: TrainableFactory
    num_envs: int = 64
    rollout_length: int = 20
    baseline: ValueBaseline | None = None
    regulariser: Callable[[AgentOutput, Any], Float[Array, ""]] | None = None
    transform_advantage: Callable[[Float[Array, "T B"]], Float[Array, "T B"]] = returns.normalise
    tracked_updates: int = 0

    def __post_init__(self) -> None:
        check_environment("RLLifetime", self.env)
        for name in ("num_envs", "rollout_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"RLLifetime: {name} must be at least 1 (got {getattr(self, name)})")
        if self.tracked_updates < 0:
            raise ValueError(f"RLLifetime: tracked_updates must not be negative (got {self.tracked_updates})")
        if isinstance(self.env, ContinuousEnvironment):
            raise ValueError(
                "RLLifetime: actions must be discrete; PPOLifetime takes both (got an environment with real actions)"
            )

    @property
    def agent(self) -> Agent:
        """The agent: its policy and prediction modules."""
        size = self.objective.prediction_size
        return Agent(self.policy(features=num_outputs(self.env)), self.prediction(features=size) if size else None)

    def init(self, key: Key, theta: Theta, level: Level) -> LearnerState:
        """An initial agent, with B environments at the start of an episode."""
        check_lifetimes(level)
        key_envs, key_agent, key_baseline = jax.random.split(key, 3)
        env_batch = reset(key_envs, self.env, level.params, self.num_envs)
        obs = jax.tree.map(lambda x: x[0], env_batch.obs)
        return LearnerState(
            agent=self.agent.init(key_agent, obs),
            baseline=self.baseline.init(key_baseline, obs) if self.baseline else (),
            env_batch=env_batch,
            running_return=jnp.zeros(self.num_envs),
            returns=ReturnAccumulator.zeros(self.tracked_updates, self.num_envs) if self.tracked_updates else (),
            age=jnp.zeros((), jnp.int32),
        )

    @property
    def score_type(self) -> type:
        """What level scores can read of an update."""
        return RolloutScores if self.baseline is None else ValueScores

    def age(self, state: LearnerState) -> Int[Array, ""]:
        """n, the inner updates done."""
        return state.age

    def step(self, key: Key, theta: Theta, level: Level, state: LearnerState) -> tuple[LearnerState, UpdateInfo]:
        """Sample a rollout, compute the targets, and make one update; returns the state unchanged after the lifetime.

        Metrics: those of the objective; "loss"; "policy_entropy" and "prediction_entropy" in nats, of the updated agent
        on the rollout; "reward", the mean reward per step; "best_return", the largest return of an episode that ended
        (minus infinity if none did); and with a baseline "value_loss", its squared error. Scores:
        `RolloutScores`, or `ValueScores` with a baseline.
        """
        active = level.active(state.age)
        # the keys of a rollout's steps are numbered from 0; this number is none of theirs
        key_optimizer = jax.random.fold_in(key, 2**32 - 1)
        env_batch, traj = self.rollout(key, level, state)
        agent, metrics, aux_loss = self._update(key_optimizer, theta, level, state, traj, active)
        return finish_update(
            level,
            state,
            (env_batch, traj),
            (agent, metrics, aux_loss),
            baseline=self.baseline,
            tracked_updates=self.tracked_updates,
        )

    def rollout(self, key: Key, level: Level, state: LearnerState) -> tuple[EnvBatch, Trajectory]:
        """The environments T steps later, and the rollout that `step` samples with the same arguments."""
        behaviour = jax.lax.stop_gradient(state.agent)
        env_batch, traj = rollout(
            key, self.env, level.params, lambda o: self.agent.act(behaviour, o), state.env_batch, self.rollout_length
        )
        # stored for the backward pass: a trajectory of indices is small, and sampling it again would double the cost
        return jax.tree.map(lambda x: checkpoint_name(x, "keep"), (env_batch, traj))

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: LearnerState
    ) -> tuple[Float[Array, ""], LearnerState, Metrics]:
        """Policy-gradient loss - mean[ log pi(a_t | s_t) A_t ] on a fresh rollout.

        A are the baseline's GAE advantages after `transform_advantage`. In the returned state the environments have
        advanced by T steps and the baseline has made one update; the agent is unchanged.

        Raises:
            ValueError: the lifetime was built without a baseline, or tracks its returns, in which this rollout would be
                missing.
        """
        if self.tracked_updates:
            raise ValueError("RLLifetime: the meta-loss needs tracked_updates=0; LifetimeReturn has a loss of its own")
        if self.baseline is None:
            raise ValueError("RLLifetime: the meta-loss needs a value baseline (got baseline=None)")
        env_batch, traj = self.rollout(key, level, state)
        baseline, estimates = self.baseline.update(state.baseline, traj, jnp.array(True))
        advantage = self.transform_advantage(estimates.advantage)
        policy = apply_many(self.agent.policy, state.agent.policy.params, traj.obs)
        loss = -(policies.log_prob(policy, traj.action) * advantage).mean()
        running_return, _ = returns.running_returns(traj.reward, traj.last, state.running_return)
        after = state.replace(env_batch=env_batch, running_return=running_return, baseline=baseline)
        return loss, after, {"meta_value_loss": estimates.loss}

    def _update(
        self, key: Key, theta: Theta, level: Level, state: LearnerState, traj: Trajectory, active: Bool[Array, ""]
    ) -> tuple[AgentState, Metrics, Float[Array, ""]]:
        """The agent after one update, metrics with its entropies on the rollout, and the auxiliary loss.

        `key` is for the optimizers.
        """
        progress = Progress(step=state.age, num_updates=level.num_updates)
        out, out_next = self.agent.outputs(state.agent, traj.obs), self.agent.outputs(state.agent, traj.next_obs)
        targets = self.objective.targets(theta, traj, out, out_next, progress)

        def loss(out):
            return self.objective.loss(theta, out, traj, targets, progress)

        extra_args = {"progress": progress, "key": key}
        agent, value, metrics = self.agent.update(state.agent, traj.obs, loss, active, level.rates, extra_args)
        out = self.agent.outputs(agent, traj.obs)
        metrics |= {
            "loss": value,
            "policy_entropy": policies.entropy(out.policy).mean(),
            "prediction_entropy": policies.entropy(out.prediction).mean(),
        }
        aux_loss = jnp.zeros(()) if self.regulariser is None else self.regulariser(out, targets)
        return agent, metrics, aux_loss
