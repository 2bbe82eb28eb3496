"""Brax tasks behind our contract: our own episodes around the raw physics."""

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
from envs.episodes import EpisodeState, begin, proceed, strong
from envs.laws import Fixed, Law
from lopt.types import Key, Level, TimeStep

Options = tuple[tuple[str, Any], ...]
"""Keyword arguments of a factory, as pairs, so that they can be hashed."""


class BraxLevel(struct.PyTreeNode):
    """A task's level: its gravity in units of the task's own, and the step limit."""

    gravity: Float[Array, "*n"]
    max_steps: Int[Array, "*n"]


@dataclass(frozen=True)
class Brax:
    """A Brax task; also the distribution that gives its default level.

    Actions are clipped to [-1, 1]; Brax scales them to the actuators where a task asks for it. An action is applied
    `action_repeat` times, and the reward is the sum over those until the episode terminates. An episode is truncated
    after `params.max_steps` actions, but never later than `max_steps`. Every episode has a start of its own.

    Example:
        env = brax_env("ant")
        levels = Ranges(env, (("gravity", 0.17, 1.0),))  # from the moon's to the task's own

    Attributes:
        factory: makes the raw Brax environment: its class, or anything hashable that can be called.
        options: keyword arguments of the factory, as pairs.
        max_steps: the step limit, in actions, and that of the levels.
        action_repeat: physics steps per action.
        lifetime: law of the number of inner updates.

    Raises:
        ValueError: a limit or a repeat below 1; when first used, an environment that wraps another one.

    Differs: Brax's training wrappers need untyped keys, start every episode of an environment in the same state, return
        the observation after the reset, keep adding rewards after an episode has terminated within a repeated action,
        and count the limit in repeats.
    """

    factory: Callable[..., Any]
    options: Options = ()
    max_steps: int = 1000
    action_repeat: int = 1
    lifetime: Law = Fixed(1000)

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.action_repeat < 1:
            raise ValueError(
                f"Brax: max_steps and action_repeat must be >= 1 (got {self.max_steps}, {self.action_repeat})"
            )

    @property
    def action_size(self) -> int:
        """D: how many numbers an action has."""
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
        """The task itself, which is also a distribution of levels."""
        return self

    def __call__(self, key: Key) -> Level:
        """The default level."""
        (u,) = uniforms(key, 1)
        return Level(params=self.default_params, lifetime=self.lifetime(u))

    def reset(self, key: Key, params: BraxLevel) -> tuple[Float[Array, " features"], EpisodeState]:
        """A fresh episode."""
        with jax.numpy_rank_promotion("allow"):
            inner = _under(self._task, params).reset(key)
        return begin(_obs(inner), inner)

    def step(
        self, key: Key, state: EpisodeState, action: Float[Array, " D"], params: BraxLevel
    ) -> tuple[TimeStep, EpisodeState]:
        """One step, and the reset when it ends the episode."""
        task = _under(self._task, params)
        action = jnp.clip(action.astype(jnp.float32), -1, 1)
        with jax.numpy_rank_promotion("allow"):
            inner, reward = self._repeat(task, state.inner, action)
            fresh = task.reset(key)
        return proceed(
            state.time,
            reached=(_obs(inner), inner),
            fresh=(_obs(fresh), fresh),
            reward=reward,
            terminated=inner.done > 0,
            max_steps=jnp.minimum(params.max_steps, self.max_steps),
        )

    def _repeat(self, task: Any, inner: Any, action: Float[Array, " D"]) -> tuple[Any, Float[Array, ""]]:
        """The state after the action and its reward, both as of termination if that comes between two repeats."""

        def once(carry: tuple[Any, Array], _: None) -> tuple[tuple[Any, Array], None]:
            before, total = carry
            # Brax writes its metrics into the state it is given: `strong` makes that a copy
            after = strong(task.step(strong(before), action))
            over = before.done > 0
            kept = jax.tree.map(lambda a, b: jax.lax.select(over, a, b), before, after)
            return (kept, total + jnp.where(over, 0.0, after.reward)), None

        start = (inner, jnp.zeros((), jnp.float32))
        return jax.lax.scan(once, start, None, length=self.action_repeat)[0]

    @property
    def _task(self) -> Any:
        return _build(self.factory, self.options)


@functools.cache
def _build(factory: Callable[..., Any], options: Options) -> Any:
    """The one raw task of a factory and its options, made outside any trace, without Brax's notice of low upkeep."""
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


def _under(task: Any, params: BraxLevel) -> Any:
    """The task with the level's gravity; MJX keeps it in its options, the other backends in the system."""
    task, own = copy.copy(task), task.sys
    task.sys = own.tree_replace(
        {"gravity": params.gravity * own.gravity, "opt.gravity": params.gravity * own.opt.gravity}
    )
    return task


def _obs(state: Any) -> Float[Array, " features"]:
    return jax.lax.convert_element_type(state.obs, jnp.float32)
