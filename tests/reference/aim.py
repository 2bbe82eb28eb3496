"""The smallest environment with real actions: the action should equal the observed goal."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lopt.types import Level, TimeStep


class AimLevel(struct.PyTreeNode):
    """Level parameters: factor `scale` of the reward, termination probability `p_end` per step, time limit `limit`."""

    scale: jax.Array
    p_end: jax.Array
    limit: jax.Array


class AimState(struct.PyTreeNode):
    """The goal, and the steps done in the episode."""

    goal: jax.Array
    time: jax.Array


@dataclass(frozen=True)
class Aim:
    """The reward is - scale |action - goal|^2 / action_size; a new goal, uniform in [-1/2, 1/2], follows every step."""

    action_size: int = 2

    def reset(self, key, params):
        goal = jax.random.uniform(key, (self.action_size,), minval=-0.5, maxval=0.5)
        return goal, AimState(goal, jnp.zeros((), jnp.int32))

    def step(self, key, state, action, params):
        key_end, key_goal, key_reset = jax.random.split(key, 3)
        terminated = jax.random.uniform(key_end) < params.p_end
        after = AimState(self.reset(key_goal, params)[0], state.time + 1)
        truncated = ~terminated & (after.time >= params.limit)
        fresh = self.reset(key_reset, params)[1]
        new = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), fresh, after)
        timestep = TimeStep(
            obs=new.goal,
            reward=-params.scale * ((action - state.goal) ** 2).mean(),
            discount=1 - terminated.astype(jnp.float32),
            truncated=truncated,
            final_obs=after.goal,
        )
        return timestep, new


def level(scale=1.0, p_end=0.2, limit=3, num_updates=100):
    """A level, see `AimLevel`; for `num_updates` updates."""
    return Level(AimLevel(jnp.float32(scale), jnp.float32(p_end), jnp.int32(limit)), jnp.int32(num_updates))


def levels(*lifetimes):
    """Levels `[N]` with different rewards and these lifetimes."""
    rng = np.random.default_rng(0)
    rows = [level(rng.uniform(0.5, 2), 0.1 * i, 2 + i, lifetime) for i, lifetime in enumerate(lifetimes)]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *rows)
