"""How good an agent has become."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    """Undiscounted returns of `num_episodes` episodes; stops when all have ended, or after `max_steps` steps."""
    key_reset, key_steps = jax.random.split(key)
    step = jax.vmap(checked_step(env), (0, 0, 0, None))

    def going(carry):
        time, _, _, alive = carry
        return alive.any() & (time < max_steps)

    def body(carry):
        time, players, total, alive = carry
        key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, time))
        out = jax.vmap(policy)(players.obs)
        check_policy(env, out)
        action = policies.executed(policies.sample(key_act, out))
        timestep, env_state = step(jax.random.split(key_step, num_episodes), players.env_state, action, level_params)
        total = total + jnp.where(alive, timestep.reward, 0.0)
        return time + 1, players.replace(obs=timestep.obs, env_state=env_state), total, alive & ~timestep.last

    players = reset(key_reset, env, level_params, num_episodes)
    start = (jnp.zeros((), jnp.int32), players, jnp.zeros(num_episodes), jnp.ones(num_episodes, bool))
    return jax.lax.while_loop(going, body, start)[2]


@dataclass(frozen=True)
class MeanReturn:
    """Mean return of a learner's stochastic policy over fresh episodes: `(key, level, learner) -> scalar`.

    Attributes:
        env: where it is measured.
        policy: `(agent state, obs) -> logits` of one observation, or a `Gaussian` (`Agent.act`, `ActorCritic.act`).
        num_episodes: how many episodes, played side by side.
        max_steps: a bound on their length; levels with a lower limit of their own stop there.
    """

    env: Environment | ContinuousEnvironment
    policy: Callable[[Any, Any], Policy]
    num_episodes: int
    max_steps: int

    def __call__(self, key: Key, level: Level, learner: Any) -> Float[Array, ""]:
        """The mean return."""
        played = episode_returns(
            key,
            self.env,
            level.params,
            lambda obs: self.policy(learner.agent, obs),
            self.num_episodes,
            self.max_steps,
        )
        return played.mean()


def live(key: Key, lifetime: Lifetime, theta: Theta, level: Level, num_updates: int) -> Any:
    """A whole life from birth: `num_updates` steps (at least the level's lifetime); returns the grown learner."""
    key_birth, key_life = jax.random.split(key)

    def step(key, state):
        return lifetime.step(key, theta, level, state)[0], None

    return unroll(step, key_life, lifetime.init(key_birth, theta, level), num_updates)[0]
