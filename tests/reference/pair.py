"""An environment with two states and two actions, whose episodes terminate or are truncated."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lopt.types import Level, TabularObs, TimeStep


class PairLevel(struct.PyTreeNode):
    """Level parameters: `reward` `[state, action]`, termination probability `p_end` per step, time limit `limit`."""

    reward: jax.Array
    p_end: jax.Array
    limit: jax.Array


class PairState(struct.PyTreeNode):
    """The state index, and the steps done in the episode."""

    index: jax.Array
    time: jax.Array


@dataclass(frozen=True)
class Pair:
    """The action is the next state; the initial state is uniform."""

    num_actions: int = 2
    num_states: int = 2

    def reset(self, key, params):
        state = PairState(jax.random.bernoulli(key).astype(jnp.int32), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step(self, key, state, action, params):
        key_end, key_reset = jax.random.split(key)
        terminated = jax.random.uniform(key_end) < params.p_end
        after = PairState(action, state.time + 1)
        truncated = ~terminated & (after.time >= params.limit)
        fresh = self.reset(key_reset, params)[1]
        new = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), fresh, after)
        timestep = TimeStep(
            obs=self._observe(new),
            reward=params.reward[state.index, action],
            discount=1 - terminated.astype(jnp.float32),
            truncated=truncated,
            final_obs=self._observe(after),
        )
        return timestep, new

    def _observe(self, state):
        return TabularObs(state.index, 0.05 * state.time.astype(jnp.float32))


def level(reward=((0.3, -0.2), (0.5, -1.0)), p_end=0.2, limit=3, num_updates=100):
    """A level, see `PairLevel`; a scalar `reward` is that of all states and actions."""
    reward = np.broadcast_to(np.asarray(reward, np.float32), (2, 2))
    params = PairLevel(jnp.asarray(reward), jnp.float32(p_end), jnp.int32(limit))
    return Level(params=params, num_updates=jnp.int32(num_updates))


def levels(*lifetimes):
    """Levels `[N]` with different rewards and these lifetimes."""
    rng = np.random.default_rng(0)
    rows = [level(rng.normal(size=(2, 2)), 0.1 * i, 2 + i, lifetime) for i, lifetime in enumerate(lifetimes)]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *rows)
