"""Brax tasks as `lopt.protocols.ContinuousEnvironment`, with episodes, resets and truncation of our own."""

import copy
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from envs.draws import uniforms
from envs.episodes import EpisodeState, auto_reset, start_episode
from envs.int_distributions import Fixed, IntDistribution
from lopt.tree import canonical
from lopt.types import Key, Level, TimeStep

Options = tuple[tuple[str, Any], ...]
"""Keyword arguments of a factory as hashable pairs `(name, value)`."""


class BraxLevel(struct.PyTreeNode):
    """The parameters of a task.

    Attributes:
        gravity: relative to the task's own.
        max_steps: step limit of an episode, in actions.
    """

    gravity: Float[Array, "*n"]
    max_steps: Int[Array, "*n"]


@dataclass(frozen=True, kw_only=True)
class Brax:
    """A Brax task; also the distribution that returns its default level.

    Actions are clipped to [-1, 1]; Brax scales them to the actuators where a task asks for it. An action is applied
    `action_repeat` times, and the reward is the sum over those until the episode terminates. An episode is truncated
    after `params.max_steps` actions, but never later than `max_steps`. Every episode starts in its own random state.

    Example:
        env = brax_env("ant")
        levels = Ranges(env, (("gravity", 0.17, 1.0),))  # from the moon's to the task's own

    Attributes:
        factory: a hashable callable that returns the raw Brax environment, for instance its class.
        options: keyword arguments of the factory as pairs.
        max_steps: the step limit of an episode, in actions, and the default of the levels.
        action_repeat: physics steps per action.
        num_updates: distribution of the lifetime's length, in inner updates.

    Raises:
        ValueError: `max_steps` or `action_repeat` below 1; on first use, an environment that wraps another one.

    Differs: Brax's training wrappers need untyped keys, reset an environment to the same state in every episode, return
        the observation after the reset, add rewards after an episode has terminated within a repeated action, and
        count the limit in physics steps.
    """

    factory: Callable[..., Any]
    options: Options = ()
    max_steps: int = 1000
    action_repeat: int = 1
    num_updates: IntDistribution = Fixed(1000)

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.action_repeat < 1:
            raise ValueError(
                f"Brax: max_steps and action_repeat must be >= 1 (got {self.max_steps}, {self.action_repeat})"
            )

    @property
    def action_size(self) -> int:
        """D, the number of components of an action."""
        return self._task.action_size

    @property
    def obs_shape(self) -> tuple[int, ...]:
        """`[features]`."""
        return _obs_shape(self.factory, self.options)

    @property
    def default_params(self) -> BraxLevel:
        """The task's own gravity, and the limit `max_steps`."""
        return BraxLevel(gravity=jnp.ones((), jnp.float32), max_steps=jnp.asarray(self.max_steps, jnp.int32))

    @property
    def environment(self) -> "Brax":
        """The task itself; it is also the distribution that returns its default level."""
        return self

    def __call__(self, key: Key) -> Level:
        """The default level, with a random length of its lifetime."""
        (u,) = uniforms(key, 1)
        return Level(params=self.default_params, num_updates=self.num_updates(u))

    def reset(self, key: Key, params: BraxLevel) -> tuple[Float[Array, " features"], EpisodeState]:
        """Start an episode: `(obs, state)`."""
        with jax.numpy_rank_promotion("allow"):
            inner = _with_level(self._task, params).reset(key)
        return start_episode(_obs(inner), inner)

    def step(
        self, key: Key, state: EpisodeState, action: Float[Array, " D"], params: BraxLevel
    ) -> tuple[TimeStep, EpisodeState]:
        """Take one step, and reset if it ends the episode: `(timestep, state)`."""
        task = _with_level(self._task, params)
        action = jnp.clip(action.astype(jnp.float32), -1, 1)
        with jax.numpy_rank_promotion("allow"):
            inner, reward = self._repeat(task, state.inner, action)
            fresh = task.reset(key)
        return auto_reset(
            state.time,
            reached=(_obs(inner), inner),
            fresh=(_obs(fresh), fresh),
            reward=reward,
            terminated=inner.done > 0,
            max_steps=jnp.minimum(params.max_steps, self.max_steps),
        )

    def _repeat(self, task: Any, inner: Any, action: Float[Array, " D"]) -> tuple[Any, Float[Array, ""]]:
        """The state after `action_repeat` physics steps and the summed reward; both stop at termination."""

        def physics_step(carry: tuple[Any, Array], _: None) -> tuple[tuple[Any, Array], None]:
            before, total = carry
            # Brax writes its metrics into the state it is given: `canonical` makes a copy
            after = canonical(task.step(canonical(before), action))
            terminated = before.done > 0
            kept = jax.tree.map(lambda a, b: jax.lax.select(terminated, a, b), before, after)
            return (kept, total + jnp.where(terminated, 0.0, after.reward)), None

        start = (inner, jnp.zeros((), jnp.float32))
        return jax.lax.scan(physics_step, start, None, length=self.action_repeat)[0]

    @property
    def _task(self) -> Any:
        return _build(self.factory, self.options)


@functools.cache
def _build(factory: Callable[..., Any], options: Options) -> Any:
    """The cached raw task of a factory and its options, built outside any trace, without Brax's maintenance warning."""
    with jax.ensure_compile_time_eval(), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        task = factory(**dict(options))
    if "sys" not in vars(task):
        raise ValueError(
            f"Brax: {type(task).__name__} must be a raw environment, with a `sys` of its own; not a wrapper"
        )
    return task


@functools.cache
def _obs_shape(factory: Callable[..., Any], options: Options) -> tuple[int, ...]:
    with jax.numpy_rank_promotion("allow"):
        return jax.eval_shape(_build(factory, options).reset, jax.random.key(0)).obs.shape


def _with_level(task: Any, params: BraxLevel) -> Any:
    """A copy of the task with the level's gravity: in `sys.opt` for MJX, in `sys` for the other backends."""
    task, system = copy.copy(task), task.sys
    task.sys = system.tree_replace(
        {"gravity": params.gravity * system.gravity, "opt.gravity": params.gravity * system.opt.gravity}
    )
    return task


def _obs(state: Any) -> Float[Array, " features"]:
    return jax.lax.convert_element_type(state.obs, jnp.float32)
