"""The lifetime of an RL agent that makes epochs of minibatch updates on every rollout, as PPO does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import returns, tree
from lopt.agents.agent import ActorCritic, ActorCriticState, vmap_flat
from lopt.agents.evaluate import MeanReturn, ReturnAccumulator
from lopt.agents.rollout import EnvBatch, MinibatchEpochs, check_environment, num_outputs, reset, rollout_and_policy
from lopt.agents.statistics import NormaliseObservations, ScaleRewards
from lopt.protocols import ContinuousEnvironment, Environment, Objective
from lopt.types import (
    AgentOutput,
    Key,
    Level,
    Metrics,
    Policy,
    Progress,
    RolloutScores,
    Theta,
    Trajectory,
    UpdateInfo,
    check_lifetimes,
)


def no_annealing(progress: Progress) -> Float[Array, ""]:
    """The constant factor 1."""
    return jnp.ones(())


def linear_annealing(progress: Progress) -> Float[Array, ""]:
    """The factor 1 - n / N, from 1 in the first update to 1 / N in the last; constant within an update."""
    return 1.0 - progress.fraction


class PPOState(struct.PyTreeNode):
    """State of a learner in a `PPOLifetime`.

    Attributes:
        agent: both networks, the optimizer and the observations' moments.
        env_batch: the B environments.
        running_return: the return so far of the episode in progress in each environment, of unscaled rewards.
        reward_scaling: running statistics for the scaling of rewards (`RewardScaling`); `()` without it.
        returns: the returns of the whole lifetime (`ReturnAccumulator`); `()` if they are not tracked.
        age: n, the updates done.
    """

    agent: ActorCriticState
    env_batch: EnvBatch
    running_return: Float[Array, " B"]
    reward_scaling: Any
    returns: Any
    age: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class PPOLifetime:
    """The lifetime of an RL agent trained by `objective`; one update is a rollout `[T, B]` and its minibatch epochs.

    It is separate from `RLLifetime`, which is built for differentiation (tables and networks updated by gradients in
    their outputs, rematerialised updates, a baseline for the meta-loss). This class is built for fast simulation: the
    behaviour policies are stored and not recomputed, both networks share one optimizer, observations and rewards can be
    normalised, and actions may be real.

    The meta-loss is minus the return of fresh episodes, for evolution strategies; it has no gradient in theta. `step`
    is differentiable in theta through the updates, with the rollout and the agent's outputs on it held constant.

    The optimizer may take the extra arguments of `LearnedOptimizer`. It gets all of them: those of `ActorCritic`,
    `progress` before this update, `batch_fraction` (`MinibatchEpochs.fraction`) and a `key` of its own for every
    minibatch. `LearnedOptimizerLifetime` makes a learned optimizer's meta-parameters the theta of this lifetime.

    Attributes:
        env: the environment; levels are its parameters.
        objective: the objective.
        policy: factory of the policy network; `partial(lopt.nets.GaussianPolicy, ...)` for real actions.
        prediction: factory of the prediction network; not used by an objective with `prediction_size` 0.
        optimizer: an optax transformation of both networks' parameters; a clipped gradient norm is that of both.
        num_envs: B, the number of parallel environments.
        rollout_length: T, environment steps per update.
        epochs: the number of epochs, and of minibatches per epoch.
        anneal: factor of the optimizer's updates as a function of the progress; `linear_annealing` goes to zero.
        observations: normalisation of observations; None leaves them unchanged.
        rewards: scaling of rewards for the objective; None leaves them unchanged.
        eval_episodes: number of fresh episodes whose mean return is the negative meta-loss.
        eval_steps: bound on their number of steps, in addition to the level's own time limit.
        tracked_updates: number of updates whose returns are kept in the state (`ReturnAccumulator`); 0 for none.

    Raises:
        ValueError: a number below one (`tracked_updates`: below zero), minibatches of unequal size, or an `env` that is
            not an environment; a level whose lifetime is known and below one (in `init`).

    Paper: arXiv 1707.06347, algorithm 1; the defaults are those of luchris429/purejaxrl for MinAtar.
    Differs: purejaxrl treats a time limit as a termination, and bootstraps from the first observation of the next
        episode.
    """

    env: Environment | ContinuousEnvironment
    objective: Objective
    policy: Callable[[int], nn.Module]
    prediction: Callable[[int], nn.Module]
    optimizer: optax.GradientTransformation
    num_envs: int = 64
    rollout_length: int = 128
    epochs: MinibatchEpochs = MinibatchEpochs()
    anneal: Callable[[Progress], jax.Array] = no_annealing
    observations: NormaliseObservations | None = None
    rewards: ScaleRewards | None = None
    eval_episodes: int = 64
    eval_steps: int = 1000
    tracked_updates: int = 0

    def __post_init__(self) -> None:
        check_environment("PPOLifetime", self.env)
        for name in ("num_envs", "rollout_length", "eval_episodes", "eval_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"PPOLifetime: {name} must be at least 1 (got {getattr(self, name)})")
        if self.tracked_updates < 0:
            raise ValueError(f"PPOLifetime: tracked_updates must not be negative (got {self.tracked_updates})")
        if self.rollout_length * self.num_envs % self.epochs.num_minibatches:
            raise ValueError(
                f"PPOLifetime: the number of minibatches must divide the {self.rollout_length} x {self.num_envs} "
                f"transitions of a rollout (got {self.epochs.num_minibatches})"
            )

    @property
    def agent(self) -> ActorCritic:
        """The agent: its networks and their optimizer."""
        size = self.objective.prediction_size
        prediction = self.prediction(size) if size else None
        return ActorCritic(
            policy=self.policy(num_outputs(self.env)),
            prediction=prediction,
            optimizer=self.optimizer,
            observations=self.observations,
        )

    def init(self, key: Key, theta: Theta, level: Level) -> PPOState:
        """An initial agent, with B environments at the start of an episode."""
        check_lifetimes(level)
        key_envs, key_agent = jax.random.split(key)
        env_batch = reset(key_envs, self.env, level.params, self.num_envs)
        return PPOState(
            agent=self.agent.init(key_agent, jax.tree.map(lambda x: x[0], env_batch.obs)),
            env_batch=env_batch,
            running_return=jnp.zeros(self.num_envs),
            reward_scaling=self.rewards.init(self.num_envs) if self.rewards else (),
            returns=ReturnAccumulator.zeros(self.tracked_updates, self.num_envs) if self.tracked_updates else (),
            age=jnp.zeros((), jnp.int32),
        )

    @property
    def score_type(self) -> type:
        """What level scores can read of an update."""
        return RolloutScores

    def age(self, state: PPOState) -> Int[Array, ""]:
        """n, the inner updates done."""
        return state.age

    def step(self, key: Key, theta: Theta, level: Level, state: PPOState) -> tuple[PPOState, UpdateInfo]:
        """Sample a rollout and make the minibatch updates on it; returns the state unchanged after the lifetime.

        Metrics: those of the objective and its "loss", averaged over the minibatches; "reward", the mean reward per
        step; "best_return", the largest return of an episode that ended (minus infinity if none did);
        "episode_return", the mean return of the episodes that ended (NaN if none did), which is biased towards short
        episodes (see `ReturnAccumulator`).
        """
        key_rollout, key_update, key_optimizer = jax.random.split(key, 3)
        active = level.active(state.age)
        behaviour = jax.lax.stop_gradient(state.agent)
        env_batch, traj, policy = rollout_and_policy(
            key_rollout,
            self.env,
            level.params,
            lambda o: self.agent.act(behaviour, o),
            state.env_batch,
            self.rollout_length,
        )
        running_return, sums = returns.running_returns(traj.reward, traj.last, state.running_return)
        metrics, scores = _return_metrics(traj.reward, traj.last, sums)
        reward: jax.Array = traj.reward
        reward_scaling: Any = ()
        if self.rewards:
            reward, reward_scaling = self.rewards(state.reward_scaling, traj.reward, traj.last)
        keys = key_update, key_optimizer
        agent, update_metrics = self._update(keys, theta, level, state, traj.replace(reward=reward), policy)
        tracked = state.returns.add(state.age, traj.last, sums) if self.tracked_updates else ()
        new = PPOState(
            agent=agent,
            env_batch=env_batch,
            running_return=running_return,
            reward_scaling=reward_scaling,
            returns=tracked,
            age=state.age + 1,
        )
        return tree.where(active, new, state), UpdateInfo(metrics | update_metrics, scores=scores)

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: PPOState
    ) -> tuple[Float[Array, ""], PPOState, Metrics]:
        """Minus the mean return of fresh episodes, of unscaled rewards (metric "return"); the state is unchanged.

        It is NaN for an agent that is not finite, though such an agent acts and has a return.
        """
        evaluate = MeanReturn(
            env=self.env, policy=self.agent.act, num_episodes=self.eval_episodes, max_steps=self.eval_steps
        )
        mean_return = tree.nan_unless_finite(evaluate(key, level, state), (state.agent, state.reward_scaling))
        return -mean_return, state, {"return": mean_return}

    def _update(
        self, keys: tuple[Key, Key], theta: Theta, level: Level, state: PPOState, traj: Trajectory, policy: Policy
    ) -> tuple[ActorCriticState, Metrics]:
        """The agent after all epochs, and the metrics averaged over the minibatches.

        `keys` are for the order of the minibatches and for the optimizer; `policy` `[T, B, ...]` is the behaviour
        policy of the rollout.
        """
        key_order, key_optimizer = keys
        agent, progress = self.agent, Progress(step=state.age, num_updates=level.num_updates)
        factor = jnp.asarray(self.anneal(progress), jnp.float32)
        obs = vmap_flat(lambda o: agent.normalise(state.agent, o))(traj.obs)
        out, out_next = outputs(agent, state.agent, obs, traj, policy)
        targets = self.objective.targets(theta, traj.replace(obs=obs), out, out_next, progress)

        def update(carry, minibatch):
            (learner, index), (traj, targets) = carry, minibatch

            def loss(out):
                return self.objective.loss(theta, out, traj, targets, progress)

            extra_args = {
                "progress": progress,
                "batch_fraction": self.epochs.fraction(index),
                "key": jax.random.fold_in(key_optimizer, index),
            }
            learner, metrics = agent.update(learner, traj.obs, loss, factor, extra_args)
            return (learner, index + 1), metrics

        moments = state.agent.obs_moments
        initial, batch = (state.agent, jnp.zeros((), jnp.int32)), (traj.replace(obs=obs, next_obs=()), targets)
        (learner, _), metrics = self.epochs(key_order, update, initial, batch)
        if agent.observations is not None:
            learner = learner.replace(obs_moments=agent.observations.update(moments, traj.obs))
        return learner, jax.tree.map(lambda x: x.mean(), metrics)


def outputs(
    agent: ActorCritic, state: ActorCriticState, obs: Any, traj: Trajectory, policy: Policy
) -> tuple[AgentOutput, AgentOutput]:
    """The agent's outputs at `traj.obs` and `traj.next_obs`, with as few forward passes as possible.

    The prediction at `next_obs` of a step is the one at the next step's `obs`. It is computed separately after the last
    step, and where an episode was truncated. After a termination, where no objective may use it, it is the prediction
    for the next episode's first observation. The policy at `next_obs` is not computed: it is NaN.

    Args:
        agent: the agent.
        state: its state before the update; a constant for differentiation.
        obs: `traj.obs`, normalised.
        traj: the rollout `[T, B, ...]`, with observations that are not normalised.
        policy: the behaviour policy of the rollout, `[T, B, ...]`.
    """
    params = jax.lax.stop_gradient(state.params)

    def predict(obs):
        return agent.predict(params, agent.normalise(state, obs))

    prediction = vmap_flat(lambda o: agent.predict(params, o))(obs)
    after = jax.vmap(predict)(tree.take(traj.next_obs, -1))
    following = jnp.concatenate([prediction[1:], after[None]])
    truncated = traj.truncated.at[-1].set(False).ravel()
    flat = following.reshape(truncated.shape[0], following.shape[-1])
    rows = jax.tree.map(lambda x: x.reshape(truncated.shape[0], *x.shape[2:]), traj.next_obs)
    following = tree.masked_map(predict, truncated, flat, rows).reshape(following.shape)
    not_computed = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), policy)
    return AgentOutput(policy, prediction), AgentOutput(not_computed, following)


def _return_metrics(
    reward: Float[Array, "T B"], last: Bool[Array, "T B"], sums: Float[Array, "T B"]
) -> tuple[Metrics, RolloutScores]:
    ended = last.sum()
    mean = jnp.where(last, sums, 0.0).sum() / jnp.maximum(ended, 1)
    scores = RolloutScores(reward.mean(), jnp.where(last, sums, -jnp.inf).max())
    metrics = {"reward": scores.reward, "best_return": scores.best_return}
    return metrics | {"episode_return": jnp.where(ended > 0, mean, jnp.nan)}, scores
