"""A small task with Brax's interface and conventions, with known dynamics: a ball falls and is pushed up."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Options:
    gravity: jax.Array


@struct.dataclass
class System:
    gravity: jax.Array
    opt: Options

    def tree_replace(self, values):
        return self.replace(gravity=values["gravity"], opt=Options(values["opt.gravity"]))


@struct.dataclass
class State:
    pipeline_state: Any
    obs: jax.Array
    reward: jax.Array
    done: jax.Array
    metrics: dict = struct.field(default_factory=dict)
    info: dict = struct.field(default_factory=dict)


class Falling:
    """Height h and speed v: v' = v + 0.1 (g + 4 a_0), h' = h + 0.1 v', reward h' - a_1^2; the floor terminates.

    As Brax does, it writes into the metrics of its input state, returns weakly typed leaves and promotes ranks.
    """

    action_size = 2

    def __init__(self, floor=0.0):
        self.floor = floor
        gravity = jnp.array([0.0, 0.0, -10.0])
        self.sys = System(gravity=gravity, opt=Options(gravity))

    def reset(self, rng):
        rng, rng_height = jax.random.split(rng)
        position = jnp.stack([1 + jax.random.uniform(rng_height), jnp.zeros(())])
        reward, done, zero = jnp.zeros(3)
        return State(position, self._observe(position), reward, done, {"height": zero}, {"rng": rng})

    def step(self, state, action):
        height, speed = state.pipeline_state
        speed = speed + 0.1 * (self.sys.gravity[2] + 4 * action[0])
        position = jnp.stack([height + 0.1 * speed, speed])
        state.metrics.update(height=position[0])
        reward = position[0] - action[1] ** 2
        done = jnp.where(position[0] < self.floor, 1.0, 0.0)
        return state.replace(pipeline_state=position, obs=self._observe(position), reward=reward, done=done)

    def _observe(self, position):
        return (position + jnp.zeros((1, 2)))[0]
