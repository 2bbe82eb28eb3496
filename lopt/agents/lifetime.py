"""The life of an agent: it plays, an objective tells it what to become, an optimizer moves it there."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from lopt import policies, returns, tree
from lopt.agents.agent import Agent, AgentState
from lopt.agents.baseline import ValueBaseline
from lopt.agents.heads import HeadFactory, apply_many
from lopt.agents.rollout import Players, check_environment, num_outputs, reset, rollout
from lopt.protocols import ContinuousEnvironment, Environment, Objective
from lopt.types import Key, Level, Metrics, Progress, Theta, Trajectory, check_lifetimes


class LearnerState(struct.PyTreeNode):
    """An agent in the midst of its life; `earned` is each player's return in the episode under way, `[B]`."""

    agent: AgentState
    baseline: Any
    players: Players
    earned: Float[Array, " B"]
    age: Int[Array, ""]


@dataclass(frozen=True)
class RLLifetime:
    """An RL agent that learns by `objective`, one update per rollout of `rollout_length` steps by `num_envs` players.

    LPG, A2C and any other objective are driven by this one class; the agent does not know whether its rule is
    learned or designed, and the outer loop does not know that it is an agent.

    Attributes:
        env: the environment; levels are its parameters.
        objective: the rule.
        policy: factory of the policy's head, network or table, with its optimizer.
        prediction: factory of the prediction's head (not used by an objective of `prediction_size` 0).
        num_envs: B.
        rollout_length: T.
        baseline: the value function of the meta-objective and of the value-based level scores; None for a lifetime
            that is never meta-trained (an antagonist, a baseline to compare with).
        mean_advantage: compatibility with EmptyJackson/groove (defect G2), see `A2C`.

    Raises:
        ValueError: `num_envs` or `rollout_length` below one, something else in the place of an environment, or an
            environment whose actions are real; a level whose lifetime is known and below one (in `init`).

    Paper: arXiv 2007.08794, algorithm 1 (inner loop); arXiv 2310.02782, appendix.
    """

    env: Environment | ContinuousEnvironment
    objective: Objective
    policy: HeadFactory
    prediction: HeadFactory
    num_envs: int = 64
    rollout_length: int = 20
    baseline: ValueBaseline | None = None
    mean_advantage: bool = False

    def __post_init__(self) -> None:
        check_environment("RLLifetime", self.env)
        for name in ("num_envs", "rollout_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"RLLifetime: {name} must be at least 1 (got {getattr(self, name)})")
        if isinstance(self.env, ContinuousEnvironment):
            raise ValueError(
                "RLLifetime: actions must be discrete; PPOLifetime takes both (got an environment of real ones)"
            )

    @property
    def agent(self) -> Agent:
        """The agent's heads."""
        size = self.objective.prediction_size
        return Agent(self.policy(num_outputs(self.env)), self.prediction(size) if size else None)

    def init(self, key: Key, theta: Theta, level: Level) -> LearnerState:
        """A newborn agent at the start of `num_envs` episodes."""
        check_lifetimes(level)
        key_players, key_agent, key_baseline = jax.random.split(key, 3)
        players = reset(key_players, self.env, level.params, self.num_envs)
        obs = jax.tree.map(lambda x: x[0], players.obs)
        return LearnerState(
            agent=self.agent.init(key_agent, obs),
            baseline=self.baseline.init(key_baseline, obs) if self.baseline else (),
            players=players,
            earned=jnp.zeros(self.num_envs),
            age=jnp.zeros((), jnp.int32),
        )

    def age(self, state: LearnerState) -> Int[Array, ""]:
        """Updates done."""
        return state.age

    def step(self, key: Key, theta: Theta, level: Level, state: LearnerState) -> tuple[LearnerState, Metrics]:
        """Play, ask the objective, update; the identity once the lifetime is over."""
        alive = state.age < level.lifetime
        players, traj = self._play(key, level, state)
        agent, metrics = self._learn(theta, level, state, traj, alive)
        earned, sums = returns.running_returns(traj.reward, traj.last, state.earned)
        metrics["reward"] = traj.reward.mean()
        metrics["best_return"] = jnp.where(traj.last, sums, -jnp.inf).max()
        baseline = state.baseline
        if self.baseline is not None:
            baseline, valuation = self.baseline.update(baseline, traj, alive)
            metrics["value_loss"] = valuation.loss
            metrics["value_mean"] = valuation.value.mean()
            metrics["positive_value_loss"] = jnp.maximum(valuation.advantage, 0.0).mean()
            metrics["l1_value_loss"] = jnp.abs(valuation.advantage).mean()
        # the heads have stood still by themselves where the life is over: selecting would copy their tables
        players, earned = tree.where(alive, (players, earned), (state.players, state.earned))
        age = state.age + alive.astype(state.age.dtype)
        return LearnerState(agent=agent, baseline=baseline, players=players, earned=earned, age=age), metrics

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: LearnerState
    ) -> tuple[Float[Array, ""], LearnerState, Metrics]:
        """Policy-gradient loss on a fresh rollout, - mean[ log pi(a) A ], with the baseline's normalised advantages.

        The state that comes back has the players moved on and the baseline trained.

        Raises:
            ValueError: the lifetime was built without a baseline.
        """
        if self.baseline is None:
            raise ValueError("RLLifetime: the meta-loss needs a value baseline (got baseline=None)")
        players, traj = self._play(key, level, state)
        baseline, valuation = self.baseline.update(state.baseline, traj, jnp.array(True))
        advantage = returns.normalise(valuation.advantage)
        if self.mean_advantage:
            advantage = jnp.broadcast_to(advantage.mean(0, keepdims=True), advantage.shape)
        policy = apply_many(self.agent.policy, state.agent.policy.params, traj.obs)
        loss = -(policies.log_prob(policy, traj.action) * advantage).mean()
        earned, _ = returns.running_returns(traj.reward, traj.last, state.earned)
        moved = state.replace(players=players, earned=earned, baseline=baseline)
        return loss, moved, {"meta_value_loss": valuation.loss}

    def _play(self, key: Key, level: Level, state: LearnerState) -> tuple[Players, Trajectory]:
        fixed = jax.lax.stop_gradient(state.agent)
        players, traj = rollout(
            key, self.env, level.params, lambda o: self.agent.act(fixed, o), state.players, self.rollout_length
        )
        # playing again in the backward pass would cost as much as playing; a trajectory of indices is small
        return jax.tree.map(lambda x: checkpoint_name(x, "keep"), (players, traj))

    def _learn(
        self, theta: Theta, level: Level, state: LearnerState, traj: Trajectory, alive: Bool[Array, ""]
    ) -> tuple[AgentState, Metrics]:
        """One update, and the entropies of the updated agent on what it saw."""
        progress = Progress(step=state.age, lifetime=level.lifetime)
        out, out_next = self.agent.outputs(state.agent, traj.obs), self.agent.outputs(state.agent, traj.next_obs)
        targets = self.objective.targets(theta, traj, out, out_next, progress)

        def loss(out):
            return self.objective.loss(theta, out, traj, targets, progress)

        agent, value, metrics = self.agent.update(state.agent, traj.obs, loss, alive, level.rates)
        out = self.agent.outputs(agent, traj.obs)
        metrics |= {
            "loss": value,
            "policy_entropy": policies.entropy(out.policy).mean(),
            "prediction_entropy": policies.entropy(out.prediction).mean(),
        }
        return agent, metrics
