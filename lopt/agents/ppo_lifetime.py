"""The life of an agent that learns from every rollout several times over, as PPO's agents do."""

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
from lopt.agents.actor_critic import ActorCritic, ActorCriticState, vmap_flat
from lopt.agents.annealing import no_annealing
from lopt.agents.evaluate import MeanReturn
from lopt.agents.lifetime_returns import LifetimeReturns
from lopt.agents.minibatches import MinibatchEpochs
from lopt.agents.rollout import Players, check_environment, num_outputs, reset, rollout_and_policy
from lopt.agents.statistics import NormaliseObservations, ScaleRewards
from lopt.protocols import ContinuousEnvironment, Environment, Objective
from lopt.types import AgentOutput, Key, Level, Metrics, Policy, Progress, Theta, Trajectory, check_lifetimes


class PPOState(struct.PyTreeNode):
    """An agent in the midst of its life; `earned` is each player's return in the episode under way, `[B]`.

    `rewards` are the statistics that rewards are scaled by, or `()`; `returns` the `LifetimeReturns`, or `()`.
    """

    agent: ActorCriticState
    players: Players
    earned: Float[Array, " B"]
    rewards: Any
    returns: Any
    age: Int[Array, ""]


@dataclass(frozen=True)
class PPOLifetime:
    """An RL agent that plays `rollout_length` steps with `num_envs` players, and then learns from them by `objective`
    in epochs of minibatches: one step of its life.

    It is `RLLifetime`'s sibling and not an option of it, because almost nothing is shared: `RLLifetime` is built to be
    differentiated (heads and tables that are moved by gradients of their outputs, rematerialised updates, a baseline
    for the meta-loss), and this one to play fast: the policies that drew the actions are kept and not computed again,
    both networks have one optimizer, and observations and rewards are normalised on the way. Actions may be real.

    Its meta-loss is minus the return, for evolution strategies: it has no gradient in theta. A step has one, of the
    updates, with what is played and the outputs it is judged by held fixed.

    Attributes:
        env: the environment; levels are its parameters.
        objective: the rule.
        policy: factory of the policy's network; `partial(lopt.nets.GaussianPolicy, ...)` where actions are real.
        prediction: factory of the prediction's network (not used by an objective of `prediction_size` 0).
        optimizer: of both networks' parameters at once: what clips the gradient's norm clips that of both.
        num_envs: B.
        rollout_length: T.
        epochs: passes over a rollout, and their minibatches.
        anneal: factor of the optimizer's steps, from the progress of the life: `linear_annealing` goes to zero.
        observations: how observations are normalised; None leaves them as they are.
        rewards: how rewards are scaled for learning; None leaves them as they are.
        eval_episodes: fresh episodes whose mean return is the meta-loss, negated.
        eval_steps: a bound on their length; levels with a lower limit of their own stop there.
        tracked_updates: how many updates of a life have their returns kept in the state (`LifetimeReturns`); 0: none.

    Raises:
        ValueError: a number below one (`tracked_updates`: below zero), minibatches of unequal size, or something else
            in the place of an environment; a level whose lifetime is known and below one (in `init`).

    Paper: arXiv 1707.06347, algorithm 1; the numbers are those of luchris429/purejaxrl for MinAtar.
    Differs: purejaxrl takes a time limit for a termination and the next episode's first observation for the one to
        bootstrap from.
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
        """The agent's networks and their optimizer."""
        size = self.objective.prediction_size
        prediction = self.prediction(size) if size else None
        return ActorCritic(self.policy(num_outputs(self.env)), prediction, self.optimizer, self.observations)

    def init(self, key: Key, theta: Theta, level: Level) -> PPOState:
        """A newborn agent at the start of `num_envs` episodes."""
        check_lifetimes(level)
        key_players, key_agent = jax.random.split(key)
        players = reset(key_players, self.env, level.params, self.num_envs)
        return PPOState(
            agent=self.agent.init(key_agent, jax.tree.map(lambda x: x[0], players.obs)),
            players=players,
            earned=jnp.zeros(self.num_envs),
            rewards=self.rewards.init(self.num_envs) if self.rewards else (),
            returns=LifetimeReturns.zeros(self.tracked_updates, self.num_envs) if self.tracked_updates else (),
            age=jnp.zeros((), jnp.int32),
        )

    def age(self, state: PPOState) -> Int[Array, ""]:
        """Updates done."""
        return state.age

    def step(self, key: Key, theta: Theta, level: Level, state: PPOState) -> tuple[PPOState, Metrics]:
        """Play and learn; the identity once the lifetime is over.

        Of the metrics, `episode_return` is the mean return of the episodes that ended (NaN without one; there are
        too many short ones among them, see `LifetimeReturns`), and what the objective says is averaged over the
        minibatches.
        """
        key_play, key_learn = jax.random.split(key)
        alive = state.age < level.lifetime
        fixed = jax.lax.stop_gradient(state.agent)
        players, traj, drawn_from = rollout_and_policy(
            key_play, self.env, level.params, lambda o: self.agent.act(fixed, o), state.players, self.rollout_length
        )
        earned, sums = returns.running_returns(traj.reward, traj.last, state.earned)
        told = _earnings(traj.reward, traj.last, sums)
        reward, rewards = self.rewards(state.rewards, traj.reward, traj.last) if self.rewards else (traj.reward, ())
        agent, learned = self._learn(key_learn, theta, level, state, traj.replace(reward=reward), drawn_from)
        tracked = state.returns.add(state.age, traj.last, sums) if self.tracked_updates else ()
        new = PPOState(agent=agent, players=players, earned=earned, rewards=rewards, returns=tracked, age=state.age + 1)
        return tree.where(alive, new, state), told | learned

    def meta_loss(
        self, key: Key, theta: Theta, level: Level, state: PPOState
    ) -> tuple[Float[Array, ""], PPOState, Metrics]:
        """Minus the mean return of fresh episodes, of the rewards as they are; the state comes back as it was."""
        measure = MeanReturn(self.env, self.agent.act, self.eval_episodes, self.eval_steps)
        earned = measure(key, level, state)
        return -earned, state, {"return": earned}

    def _learn(
        self, key: Key, theta: Theta, level: Level, state: PPOState, traj: Trajectory, drawn_from: Policy
    ) -> tuple[ActorCriticState, Metrics]:
        """The agent after all epochs, and the metrics averaged over the minibatches."""
        agent, progress = self.agent, Progress(step=state.age, lifetime=level.lifetime)
        rate = jnp.asarray(self.anneal(progress), jnp.float32)
        obs = vmap_flat(lambda o: agent.normalise(state.agent, o))(traj.obs)
        out, out_next = outputs(agent, state.agent, obs, traj, drawn_from)
        targets = self.objective.targets(theta, traj.replace(obs=obs), out, out_next, progress)

        def update(learner, minibatch):
            traj, targets = minibatch

            def loss(out):
                return self.objective.loss(theta, out, traj, targets, progress)

            return agent.update(learner, traj.obs, loss, rate)

        seen = state.agent.seen
        learner, told = self.epochs(key, update, state.agent, (traj.replace(obs=obs, next_obs=()), targets))
        if agent.observations is not None:
            learner = learner.replace(seen=agent.observations.update(seen, traj.obs))
        return learner, jax.tree.map(lambda x: x.mean(), told)


def outputs(
    agent: ActorCritic, state: ActorCriticState, obs: Any, traj: Trajectory, drawn_from: Policy
) -> tuple[AgentOutput, AgentOutput]:
    """What the agent said at `traj.obs`, of which `obs` are normalised, and predicts at `traj.next_obs`.

    The prediction after a step is the one at the next step's observation; it is computed anew after the last step, and
    where an episode was truncated and the next observation is of another. After a termination, where there is nothing
    to predict, it is some number. The policy there is not computed: NaN.
    """
    params = jax.lax.stop_gradient(state.params)

    def predict(obs):
        return agent.predict(params, agent.normalise(state, obs))

    prediction = vmap_flat(lambda o: agent.predict(params, o))(obs)
    after = jax.vmap(predict)(tree.take(traj.next_obs, -1))
    following = jnp.concatenate([prediction[1:], after[None]])
    cut = traj.truncated.at[-1].set(False).ravel()
    flat = following.reshape(cut.shape[0], following.shape[-1])
    rows = jax.tree.map(lambda x: x.reshape(cut.shape[0], *x.shape[2:]), traj.next_obs)
    following = tree.masked_map(predict, cut, flat, rows).reshape(following.shape)
    unknown = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), drawn_from)
    return AgentOutput(drawn_from, prediction), AgentOutput(unknown, following)


def _earnings(reward: Float[Array, "T B"], last: Bool[Array, "T B"], sums: Float[Array, "T B"]) -> Metrics:
    ended = last.sum()
    mean = jnp.where(last, sums, 0.0).sum() / jnp.maximum(ended, 1)
    return {
        "reward": reward.mean(),
        "best_return": jnp.where(last, sums, -jnp.inf).max(),
        "episode_return": jnp.where(ended > 0, mean, jnp.nan),
    }
