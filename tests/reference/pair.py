"""Two states, two actions, and every way for an episode to end, as data."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lopt.types import Level, TabularObs, TimeStep


class PairLevel(struct.PyTreeNode):
    """`reward` `[state, action]`; an episode terminates with probability `p_end` a step, or is truncated at `limit`."""

    reward: jax.Array
    p_end: jax.Array
    limit: jax.Array


class PairState(struct.PyTreeNode):
    """Where the agent is, and since when."""

    index: jax.Array
    time: jax.Array


@dataclass(frozen=True)
class Pair:
    """The action is the next state; episodes start in either."""

    num_actions: int = 2
    num_states: int = 2

    def reset(self, key, params):
        state = PairState(jax.random.bernoulli(key).astype(jnp.int32), jnp.zeros((), jnp.int32))
        return self._see(state), state

    def step(self, key, state, action, params):
        key_end, key_reset = jax.random.split(key)
        terminated = jax.random.uniform(key_end) < params.p_end
        after = PairState(action, state.time + 1)
        truncated = ~terminated & (after.time >= params.limit)
        fresh = self.reset(key_reset, params)[1]
        new = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), fresh, after)
        timestep = TimeStep(
            obs=self._see(new),
            reward=params.reward[state.index, action],
            discount=1 - terminated.astype(jnp.float32),
            truncated=truncated,
            final_obs=self._see(after),
        )
        return timestep, new

    def _see(self, state):
        return TabularObs(state.index, 0.05 * state.time.astype(jnp.float32))


def level(reward=((0.3, -0.2), (0.5, -1.0)), p_end=0.2, limit=3, lifetime=100):
    """A level; a scalar `reward` pays always."""
    reward = np.broadcast_to(np.asarray(reward, np.float32), (2, 2))
    params = PairLevel(jnp.asarray(reward), jnp.float32(p_end), jnp.int32(limit))
    return Level(params=params, lifetime=jnp.int32(lifetime))


def levels(*lifetimes):
    """Levels `[N]` of different rewards with these lifetimes."""
    rng = np.random.default_rng(0)
    several = [level(rng.normal(size=(2, 2)), 0.1 * i, 2 + i, lifetime) for i, lifetime in enumerate(lifetimes)]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *several)
