"""Returns of agents: of fresh episodes, and over the updates of a lifetime."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lopt import policies
from lopt.agents.rollout import check_policy, checked_step, reset
from lopt.protocols import ContinuousEnvironment, Environment, Lifetime
from lopt.types import Key, Level, Policy, Theta
from lopt.unroll import unroll


def episode_returns(
    key: Key,
    env: Environment | ContinuousEnvironment,
    level_params: Any,
    policy: Callable[[Any], Policy],
    num_episodes: int,
    max_steps: int,
) -> Float[Array, " B"]:
    """Undiscounted returns of B parallel episodes under a stochastic policy.

    It stops when all episodes have ended. An episode that has not ended after `max_steps` steps counts with its return
    so far.

    Args:
        key: for resets, actions and transitions.
        env: the environment.
        level_params: parameters of the level.
        policy: function from one observation to logits or a `Gaussian`.
        num_episodes: B.
        max_steps: bound on the number of steps.
    """
    key_reset, key_steps = jax.random.split(key)
    step = jax.vmap(checked_step(env), (0, 0, 0, None))

    def unfinished(carry):
        time, _, _, running = carry
        return running.any() & (time < max_steps)

    def body(carry):
        time, env_batch, total, running = carry
        key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, time))
        out = jax.vmap(policy)(env_batch.obs)
        check_policy(env, out)
        action = policies.clip_action(policies.sample(key_act, out))
        timestep, env_state = step(jax.random.split(key_step, num_episodes), env_batch.env_state, action, level_params)
        total = total + jnp.where(running, timestep.reward, 0.0)
        return time + 1, env_batch.replace(obs=timestep.obs, env_state=env_state), total, running & ~timestep.last

    env_batch = reset(key_reset, env, level_params, num_episodes)
    initial = (jnp.zeros((), jnp.int32), env_batch, jnp.zeros(num_episodes), jnp.ones(num_episodes, bool))
    return jax.lax.while_loop(unfinished, body, initial)[2]


@dataclass(frozen=True, kw_only=True)
class MeanReturn:
    """Mean undiscounted return of a learner's stochastic policy over fresh episodes: `(key, level, learner) -> scalar`.

    Attributes:
        env: the environment.
        policy: function from the agent's state and one observation to logits, or a `Gaussian` (`Agent.act`,
            `ActorCritic.act`).
        num_episodes: the number of episodes, run in parallel.
        max_steps: bound on their number of steps, in addition to the level's own time limit.
    """

    env: Environment | ContinuousEnvironment
    policy: Callable[[Any, Any], Policy]
    num_episodes: int
    max_steps: int

    def __call__(self, key: Key, level: Level, learner: Any) -> Float[Array, ""]:
        """The mean return of `learner.agent` on the level."""
        returns = episode_returns(
            key,
            self.env,
            level.params,
            lambda obs: self.policy(learner.agent, obs),
            self.num_episodes,
            self.max_steps,
        )
        return returns.mean()


def train_learner(key: Key, lifetime: Lifetime, theta: Theta, level: Level, num_updates: int) -> Any:
    """Train a learner from initialisation for a whole lifetime; returns its final state.

    Args:
        key: for initialisation and updates.
        lifetime: the lifetime.
        theta: meta-parameters.
        level: the level.
        num_updates: steps that are computed; at least `level.num_updates`, after which the state no longer changes.
    """
    key_init, key_steps = jax.random.split(key)

    def step(key, state):
        return lifetime.step(key, theta, level, state)[0], None

    return unroll(step, key_steps, lifetime.init(key_init, theta, level), num_updates)[0]


class ReturnAccumulator(struct.PyTreeNode):
    """Sum and number of the undiscounted returns of the episodes that started in each of N updates.

    The mean over the episodes that *ended* in an update is biased towards short episodes: long ones end later, or not
    before the end of the lifetime. Here an episode counts for the update in which it started, whatever its length.

    Attributes:
        total: sum of the returns of the episodes that started in an update and have ended.
        count: number of the episodes that started in an update.
        start: the update in which the episode in progress in each environment started.
        at_start: whether that episode has made no step yet; it is not counted then.
    """

    total: Float[Array, "*n N"]
    count: Int[Array, "*n N"]
    start: Int[Array, "*n B"]
    at_start: Bool[Array, "*n B"]

    @classmethod
    def zeros(cls, num_updates: int, num_envs: int) -> "ReturnAccumulator":
        """The accumulator before the first of N updates."""
        return cls(
            total=jnp.zeros(num_updates),
            count=jnp.zeros(num_updates, jnp.int32),
            start=jnp.zeros(num_envs, jnp.int32),
            at_start=jnp.ones(num_envs, bool),
        )

    def add(self, update: Int[Array, ""], last: Bool[Array, "T B"], sums: Float[Array, "T B"]) -> "ReturnAccumulator":
        """The accumulator after one more rollout.

        Args:
            update: index of the update.
            last: where an episode ended.
            sums: return of the current episode up to and including each step (`lopt.returns.running_returns`).
        """
        ended_before = jnp.cumsum(last, 0) - last
        # episodes that started in an earlier update, and those that started in this one
        carried = last & (ended_before == 0) & ~self.at_start[None]
        own = jnp.where(last & ~carried, sums, 0.0).sum()
        total = self.total.at[self.start].add(jnp.where(carried, sums, 0.0).sum(0)).at[update].add(own)
        started = last[:-1].sum(0) + self.at_start
        return ReturnAccumulator(
            total=total,
            count=self.count.at[update].add(started.sum().astype(self.count.dtype)),
            start=jnp.where(started > 0, update, self.start),
            at_start=last[-1],
        )

    def curve(self, running_return: Float[Array, " B"], age: Int[Array, ""]) -> Float[Array, " N"]:
        """Learning curve: the mean return of the episodes that started in each update.

        An unfinished episode counts with its return so far. An update in which no episode started has the value of the
        update before it. Entries from `age` on are NaN.

        Args:
            running_return: return so far of the episode in progress in each environment.
            age: the number of updates done.
        """
        total = self.total.at[self.start].add(jnp.where(self.at_start, 0.0, running_return))
        index = jnp.arange(self.total.shape[0])
        latest = jax.lax.cummax(jnp.where(self.count > 0, index, 0))
        mean = total / jnp.maximum(self.count, 1)
        return jnp.where(index < age, mean[latest], jnp.nan)

    def mean(
        self, running_return: Float[Array, " B"], age: Int[Array, ""], start: Int[Array, ""] | int = 0
    ) -> Float[Array, ""]:
        """The mean of `curve` over the updates done from `start` on; 0 before the first of them."""
        curve = self.curve(running_return, age)
        return jnp.nan_to_num(jnp.nanmean(jnp.where(jnp.arange(curve.shape[0]) < start, jnp.nan, curve)), nan=0.0)
