"""Playing: a policy in B copies of an environment."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from lopt import policies
from lopt.protocols import ContinuousEnvironment, Environment
from lopt.tree import canonical
from lopt.types import Gaussian, Key, Policy, Trajectory


class Players(struct.PyTreeNode):
    """B environments under way: what is seen, and the environments' states."""

    obs: Any
    env_state: Any


def reset(key: Key, env: Environment | ContinuousEnvironment, level_params: Any, num_envs: int) -> Players:
    """B fresh episodes of one level."""
    obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), level_params)
    return canonical(Players(obs=obs, env_state=env_state))


def rollout(
    key: Key,
    env: Environment | ContinuousEnvironment,
    level_params: Any,
    policy: Callable[[Any], Policy],
    players: Players,
    length: int,
) -> tuple[Players, Trajectory]:
    """`length` steps of every player under `policy` (observation -> logits or `Gaussian`); the trajectory is
    `[T, B, ...]`.

    Raises:
        ValueError: a policy over other actions than the environment's.
    """
    players, (traj, _) = _play(key, env, level_params, policy, players, length, lambda policy: ())
    return players, traj


def rollout_and_policy(
    key: Key,
    env: Environment | ContinuousEnvironment,
    level_params: Any,
    policy: Callable[[Any], Policy],
    players: Players,
    length: int,
) -> tuple[Players, Trajectory, Policy]:
    """A rollout, and the policy `[T, B, ...]` that each action was drawn from."""
    players, (traj, drawn_from) = _play(key, env, level_params, policy, players, length, lambda policy: policy)
    return players, traj, drawn_from


def _play(key, env, level_params, policy, players, length, keep):
    num_envs = jax.tree.leaves(players.obs)[0].shape[0]
    step = jax.vmap(env.step, (0, 0, 0, None))

    def body(players, key):
        key_act, key_step = jax.random.split(key)
        out = jax.vmap(policy)(players.obs)
        check_policy(env, out)
        action = policies.sample(key_act, out)
        keys = jax.random.split(key_step, num_envs)
        timestep, env_state = step(keys, players.env_state, policies.executed(action), level_params)
        transition = Trajectory(
            obs=players.obs,
            action=action,
            reward=timestep.reward,
            discount=timestep.discount,
            truncated=timestep.truncated,
            next_obs=timestep.final_obs,
        )
        return Players(obs=timestep.obs, env_state=env_state), (transition, keep(out))

    return jax.lax.scan(body, players, jax.random.split(key, length))


def num_outputs(env: Environment | ContinuousEnvironment) -> int:
    """How many outputs a policy's network needs: one for each action, or for each entry of an action."""
    return env.action_size if isinstance(env, ContinuousEnvironment) else env.num_actions


def check_policy(env: Environment | ContinuousEnvironment, policy: Policy) -> None:
    """Refuse a policy over other actions than the environment's.

    Raises:
        ValueError: logits where actions are real, or a `Gaussian` where they are discrete.
    """
    wanted, got = isinstance(env, ContinuousEnvironment), isinstance(policy, Gaussian)
    if wanted and not got:
        raise ValueError("policy: the environment's actions are real and need a Gaussian policy (got logits)")
    if got and not wanted:
        raise ValueError("policy: the environment's actions are discrete and need a policy of logits (got a Gaussian)")
