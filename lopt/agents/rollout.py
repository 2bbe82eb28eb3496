"""Rollouts of a policy in B parallel environments and minibatches of them, and checks of environments and policies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lopt import policies
from lopt.protocols import ContinuousEnvironment, Environment
from lopt.tree import canonical
from lopt.types import Gaussian, Key, Metrics, Policy, PyTree, TimeStep, Trajectory


class EnvBatch(struct.PyTreeNode):
    """B environments in progress: the current observations and the environments' states, `[B, ...]`."""

    obs: Any
    env_state: Any


def reset(key: Key, env: Environment | ContinuousEnvironment, level_params: Any, num_envs: int) -> EnvBatch:
    """Start B episodes on one level.

    Raises:
        ValueError: an environment whose `reset` does not return an observation and a state.
    """
    result = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), level_params)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"environment: reset must return (obs, state) (got {_described(result)})")
    obs, env_state = result
    return canonical(EnvBatch(obs=obs, env_state=env_state))


def rollout(
    key: Key,
    env: Environment | ContinuousEnvironment,
    level_params: Any,
    policy: Callable[[Any], Policy],
    env_batch: EnvBatch,
    length: int,
) -> tuple[EnvBatch, Trajectory]:
    """Sample a rollout: T steps in each of B environments.

    Args:
        key: for actions and transitions.
        env: the environment.
        level_params: parameters of the level, the same in all B environments.
        policy: function from one observation to logits or a `Gaussian`.
        env_batch: the environments before the first step.
        length: T.

    Returns:
        The environments after the last step, and the trajectory `[T, B, ...]`.

    Raises:
        ValueError: a policy over actions of another kind than the environment's, or an environment whose `step` does
            not return a `TimeStep` and a state.
    """
    env_batch, (traj, _) = _scan_steps(key, env, level_params, policy, env_batch, length, lambda policy: ())
    return env_batch, traj


def rollout_and_policy(
    key: Key,
    env: Environment | ContinuousEnvironment,
    level_params: Any,
    policy: Callable[[Any], Policy],
    env_batch: EnvBatch,
    length: int,
) -> tuple[EnvBatch, Trajectory, Policy]:
    """`rollout`, with the behaviour policy `[T, B, ...]` at every step as third result."""
    env_batch, (traj, behaviour) = _scan_steps(key, env, level_params, policy, env_batch, length, lambda policy: policy)
    return env_batch, traj, behaviour


def _scan_steps(key, env, level_params, policy, env_batch, length, keep):
    num_envs = jax.tree.leaves(env_batch.obs)[0].shape[0]
    step = jax.vmap(checked_step(env), (0, 0, 0, None))

    def body(env_batch, key):
        key_act, key_step = jax.random.split(key)
        out = jax.vmap(policy)(env_batch.obs)
        check_policy(env, out)
        action = policies.sample(key_act, out)
        keys = jax.random.split(key_step, num_envs)
        timestep, env_state = step(keys, env_batch.env_state, policies.clip_action(action), level_params)
        transition = Trajectory(
            obs=env_batch.obs,
            action=action,
            reward=timestep.reward,
            discount=timestep.discount,
            truncated=timestep.truncated,
            next_obs=timestep.final_obs,
        )
        return EnvBatch(obs=timestep.obs, env_state=env_state), (transition, keep(out))

    return jax.lax.scan(body, env_batch, jax.random.split(key, length))


def checked_step(env: Environment | ContinuousEnvironment) -> Callable[..., tuple[TimeStep, Any]]:
    """`env.step` with a check, at trace time, that it returns what `lopt.protocols.Environment` requires.

    Raises:
        ValueError: `env.step` returned anything but a `TimeStep` and a state.
    """

    def step(key: Key, state: Any, action: Any, params: Any) -> tuple[TimeStep, Any]:
        result = env.step(key, state, action, params)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], TimeStep):
            raise ValueError(
                f"environment: step must return (TimeStep, state) (got {_described(result)}); envs.gymnax.gymnax_env "
                "wraps a gymnax environment accordingly, and lopt.types.TimeStep documents the record"
            )
        return result

    return step


def _described(x: Any) -> str:
    return f"a tuple of {', '.join(type(entry).__name__ for entry in x)}" if isinstance(x, tuple) else repr(x)


def check_environment(caller: str, env: Any) -> None:
    """Raise if `env` is not an environment.

    Args:
        caller: name of the class or function that the message starts with.
        env: an `Environment` or a `ContinuousEnvironment`.

    Raises:
        ValueError: an object without the members of either protocol; the message lists the missing ones.
    """
    if isinstance(env, (Environment, ContinuousEnvironment)):
        return
    members = dir(env)
    missing = [name for name in ("reset", "step") if name not in members]
    if not {"num_actions", "action_size"} & set(members):
        missing.append("num_actions (or action_size, where actions are real)")
    raise ValueError(
        f"{caller}: expected an environment, see lopt.protocols.Environment (got {type(env).__name__}, which lacks "
        f"{', '.join(missing)})"
    )


def num_outputs(env: Environment | ContinuousEnvironment) -> int:
    """A, the number of outputs of a policy network: discrete actions, or entries of a real action."""
    return env.action_size if isinstance(env, ContinuousEnvironment) else env.num_actions


def check_policy(env: Environment | ContinuousEnvironment, policy: Policy) -> None:
    """Raise if the policy's actions are of another kind (discrete or real) than the environment's.

    Raises:
        ValueError: logits where actions are real, or a `Gaussian` where they are discrete.
    """
    needs_gaussian, is_gaussian = isinstance(env, ContinuousEnvironment), isinstance(policy, Gaussian)
    if needs_gaussian and not is_gaussian:
        raise ValueError("policy: the environment's actions are real and need a Gaussian policy (got logits)")
    if is_gaussian and not needs_gaussian:
        raise ValueError("policy: the environment's actions are discrete and need a policy of logits (got a Gaussian)")


@dataclass(frozen=True)
class MinibatchEpochs:
    """`num_epochs` passes over the transitions of a rollout, each in a new random order, in `num_minibatches` updates.

    Each minibatch is gathered just before its update, so that no shuffled copy of the rollout is stored.

    Attributes:
        num_epochs: passes over the rollout.
        num_minibatches: minibatches per pass, of equal size; it has to divide the number of transitions T B.

    Raises:
        ValueError: a number below one.
    """

    num_epochs: int = 4
    num_minibatches: int = 8

    def __post_init__(self) -> None:
        for name in ("num_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"MinibatchEpochs: {name} must be at least 1 (got {getattr(self, name)})")

    def fraction(self, index: Int[Array, ""]) -> Float[Array, ""]:
        """The batch fraction e / (E - 1) of an update, by its index among all of a rollout: it is in pass e of E.

        It is 0 where there is one pass (see `LearnedOptimizer`, `batch_fraction`).

        Paper: arXiv 2407.07082, "batch proportion" (values: the code of AlexGoldie/rl-learned-optimization).
        """
        return (index // self.num_minibatches) / max(self.num_epochs - 1, 1)

    def __call__(
        self, key: Key, step: Callable[[Any, PyTree], tuple[Any, Metrics]], state: Any, batch: PyTree
    ) -> tuple[Any, Metrics]:
        """Apply `state, metrics = step(state, minibatch)` to every minibatch, in one scan.

        Args:
            key: for the random orders.
            step: one update on a minibatch `[1, T B / num_minibatches, ...]`.
            state: initial state.
            batch: the rollout, leaves `[T, B, ...]`.

        Returns:
            The last state, and the metrics `[num_epochs * num_minibatches, ...]`.

        Raises:
            ValueError: `num_minibatches` does not divide T B.
        """
        length, width = jax.tree.leaves(batch)[0].shape[:2]
        size = length * width
        if size % self.num_minibatches:
            raise ValueError(
                f"MinibatchEpochs: num_minibatches must divide the {length} x {width} transitions of a rollout "
                f"(got {self.num_minibatches})"
            )
        flat = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), batch)
        order = jax.vmap(lambda key: permutation(key, size))(jax.random.split(key, self.num_epochs))
        order = order.reshape(self.num_epochs * self.num_minibatches, -1)

        def body(state, index):
            return step(state, jax.tree.map(lambda x: x[index][None], flat))

        return jax.lax.scan(body, state, order)


def permutation(key: Key, size: int) -> Int[Array, " size"]:
    """A random permutation of 0 ... size - 1, by one sort of 32-bit words with random high bits and the index below.

    On CPU a sort of single words takes a fifth of the time of an argsort, and `jax.random.permutation` needs two of
    those. Indices with equal random bits keep their order: for size 2^13, about one in sixty has such a neighbour.
    """
    index_bits = jnp.uint32((1 << max(size - 1, 1).bit_length()) - 1)
    words = (jax.random.bits(key, (size,)) & ~index_bits) | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(words) & index_bits).astype(jnp.int32)
