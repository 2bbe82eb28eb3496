"""A softmax bandit in expectation: a lifetime whose meta-gradient can be written down."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lopt.types import Level
from tests.reference import naive


class BanditState(struct.PyTreeNode):
    """Logits, updates done, and how often its loss was measured."""

    logits: jax.Array
    age: jax.Array
    measured: jax.Array


@dataclass(frozen=True)
class Bandit:
    """Ascends E_pi[theta] by its exact policy gradient, with noise; its meta-loss is -E_pi[reward]."""

    arms: int = 3
    rate: float = 0.6
    noise: float = 0.1

    def init(self, key, theta, level):
        logits = jax.random.normal(key, (self.arms,))
        return BanditState(logits, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        p = jax.nn.softmax(state.logits)
        gain = p * (theta["value"] - p @ theta["value"]) + self.noise * jax.random.normal(key, (self.arms,))
        alive = state.age < level.lifetime
        logits = jnp.where(alive, state.logits + self.rate * gain, state.logits)
        return state.replace(logits=logits, age=state.age + alive), {"size": (logits**2).sum()}

    def meta_loss(self, key, theta, level, state):
        earned = jax.nn.softmax(state.logits) @ level.params["reward"]
        return -earned, state.replace(measured=state.measured + 1), {"regret": level.params["reward"].max() - earned}

    def age(self, state):
        return state.age


def meta_gradient(bandit, theta, logits, reward, noise):
    """d(-E_pi'[reward])/d theta after one update from `logits`, by hand."""
    p = naive.softmax(logits)
    after = naive.softmax(logits + bandit.rate * (p * (theta - p @ theta) + bandit.noise * noise))
    # v = d E_pi'[reward] / d logits', and d logits'_i / d theta_j = rate p_i (delta_ij - p_j)
    v = after * (reward - after @ reward)
    return -bandit.rate * p * (v - p @ v)


def levels(num, lifetime=100, arms=3):
    """Levels `[N]` with random rewards."""
    reward = np.random.default_rng(0).normal(size=(num, arms)).astype(np.float32)
    return Level(params={"reward": jnp.array(reward)}, lifetime=jnp.broadcast_to(jnp.asarray(lifetime, jnp.int32), num))
