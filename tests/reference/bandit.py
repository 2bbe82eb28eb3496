"""A softmax bandit with exact expectations: a lifetime with a meta-gradient in closed form."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lopt.types import Level, UpdateInfo
from tests.reference import naive


class BanditState(struct.PyTreeNode):
    """Logits, updates done, and the number of calls of `meta_loss`."""

    logits: jax.Array
    age: jax.Array
    measured: jax.Array


@dataclass(frozen=True)
class Bandit:
    """A softmax policy trained on rewards theta by its exact policy gradient plus noise; meta-loss -E_pi[reward].

    The auxiliary loss is `size_weight` times the squared norm of the logits, which is also what scores read.
    """

    size_weight: float = 0.0
    arms: int = 3
    rate: float = 0.6
    noise: float = 0.1

    def init(self, key, theta, level):
        logits = jax.random.normal(key, (self.arms,))
        return BanditState(logits, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        p = jax.nn.softmax(state.logits)
        gradient = p * (theta["value"] - p @ theta["value"]) + self.noise * jax.random.normal(key, (self.arms,))
        active = level.active(state.age)
        logits = jnp.where(active, state.logits + self.rate * gradient, state.logits)
        size = (logits**2).sum()
        return state.replace(logits=logits, age=state.age + active), UpdateInfo(
            {"size": size}, self.size_weight * size, size
        )

    def meta_loss(self, key, theta, level, state):
        reward = jax.nn.softmax(state.logits) @ level.params["reward"]
        return -reward, state.replace(measured=state.measured + 1), {"regret": level.params["reward"].max() - reward}

    def age(self, state):
        return state.age


def meta_gradient(bandit, theta, logits, reward, noise):
    """d(-E_pi'[reward]) / d theta, with pi' the policy after one update from `logits`, in closed form."""
    p = naive.softmax(logits)
    after = naive.softmax(logits + bandit.rate * (p * (theta - p @ theta) + bandit.noise * noise))
    # v = d E_pi'[reward] / d logits', and d logits'_i / d theta_j = rate p_i (delta_ij - p_j)
    v = after * (reward - after @ reward)
    return -bandit.rate * p * (v - p @ v)


def levels(num, num_updates=100, arms=3):
    """Levels `[N]` with standard normal rewards."""
    reward = np.random.default_rng(0).normal(size=(num, arms)).astype(np.float32)
    return Level(
        params={"reward": jnp.array(reward)}, num_updates=jnp.broadcast_to(jnp.asarray(num_updates, jnp.int32), num)
    )
