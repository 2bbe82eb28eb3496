"""Playing: a policy in B copies of an environment."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from lopt import policies
from lopt.protocols import Environment
from lopt.tree import canonical
from lopt.types import Key, Trajectory


class Players(struct.PyTreeNode):
    """B environments under way: what is seen, and the environments' states."""

    obs: Any
    env_state: Any


def reset(key: Key, env: Environment, level_params: Any, num_envs: int) -> Players:
    """B fresh episodes of one level."""
    obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), level_params)
    return canonical(Players(obs=obs, env_state=env_state))


def rollout(
    key: Key,
    env: Environment,
    level_params: Any,
    policy: Callable[[Any], jax.Array],
    players: Players,
    length: int,
) -> tuple[Players, Trajectory]:
    """`length` steps of every player under `policy` (observation -> logits); the trajectory is `[T, B, ...]`."""
    num_envs = jax.tree.leaves(players.obs)[0].shape[0]
    step = jax.vmap(env.step, (0, 0, 0, None))

    def body(players, key):
        key_act, key_step = jax.random.split(key)
        action = policies.sample(key_act, jax.vmap(policy)(players.obs))
        timestep, env_state = step(jax.random.split(key_step, num_envs), players.env_state, action, level_params)
        transition = Trajectory(
            obs=players.obs,
            action=action,
            reward=timestep.reward,
            discount=timestep.discount,
            truncated=timestep.truncated,
            next_obs=timestep.final_obs,
        )
        return Players(obs=timestep.obs, env_state=env_state), transition

    return jax.lax.scan(body, players, jax.random.split(key, length))
