"""Playing: a policy in B copies of an environment."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from lopt import policies
from lopt.protocols import ContinuousEnvironment, Environment
from lopt.tree import canonical
from lopt.types import Gaussian, Key, Policy, TimeStep, Trajectory


class Players(struct.PyTreeNode):
    """B environments under way: what is seen, and the environments' states."""

    obs: Any
    env_state: Any


def reset(key: Key, env: Environment | ContinuousEnvironment, level_params: Any, num_envs: int) -> Players:
    """B fresh episodes of one level.

    Raises:
        ValueError: an environment whose `reset` does not return an observation and a state.
    """
    given = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), level_params)
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError(f"environment: reset must return (obs, state) (got {_described(given)})")
    obs, env_state = given
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
        ValueError: a policy over other actions than the environment's, or an environment whose `step` does not return a
            `TimeStep` and a state.
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
    step = jax.vmap(checked_step(env), (0, 0, 0, None))

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


def checked_step(env: Environment | ContinuousEnvironment) -> Callable[..., tuple[TimeStep, Any]]:
    """`env.step`, refused where it does not return what the contract says.

    Raises:
        ValueError: something else than a `TimeStep` and a state (when it is traced).
    """

    def step(key: Key, state: Any, action: Any, params: Any) -> tuple[TimeStep, Any]:
        given = env.step(key, state, action, params)
        if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], TimeStep):
            raise ValueError(
                f"environment: step must return (TimeStep, state) (got {_described(given)}); envs.gymnax.gymnax_env "
                "makes such an environment of a gymnax name, and lopt.types.TimeStep says what the record holds"
            )
        return given

    return step


def _described(given: Any) -> str:
    return f"a tuple of {', '.join(type(x).__name__ for x in given)}" if isinstance(given, tuple) else repr(given)


def check_environment(who: str, env: Any) -> None:
    """Refuse what is not an environment.

    Raises:
        ValueError: an object without the members of `Environment` or `ContinuousEnvironment`; names those it lacks.
    """
    if isinstance(env, (Environment, ContinuousEnvironment)):
        return
    members = dir(env)
    lacks = [name for name in ("reset", "step") if name not in members]
    if not {"num_actions", "action_size"} & set(members):
        lacks.append("num_actions (or action_size, where actions are real)")
    raise ValueError(
        f"{who}: expected an environment, see lopt.protocols.Environment (got {type(env).__name__}, which lacks "
        f"{', '.join(lacks)})"
    )


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
