"""Random trajectories with terminations and truncations."""

import jax.numpy as jnp
import numpy as np

from lopt.types import AgentOutput, TabularObs, Trajectory


def endings(rng, shape):
    """`(discount, truncated)`: about a fifth of the steps terminate, a fifth of the others are truncated."""
    terminated = rng.random(shape) < 0.2
    return 1.0 - terminated, ~terminated & (rng.random(shape) < 0.2)


def trajectory(seed=0, T=6, B=3, num_states=4, num_actions=3, dtype=np.float32):
    """A random trajectory; `next_obs` is independent of the next `obs`."""
    rng = np.random.default_rng(seed)
    discount, truncated = endings(rng, (T, B))

    def obs():
        return TabularObs(jnp.array(rng.integers(num_states, size=(T, B))), jnp.array(rng.random((T, B)), dtype))

    return Trajectory(
        obs=obs(),
        action=jnp.array(rng.integers(num_actions, size=(T, B)), jnp.int32),
        reward=jnp.array(rng.normal(size=(T, B)), dtype),
        discount=jnp.array(discount, dtype),
        truncated=jnp.array(truncated),
        next_obs=obs(),
    )


def output(seed=0, T=6, B=3, num_actions=3, width=2, dtype=np.float32, scale=1.0):
    """An agent's random output."""
    rng = np.random.default_rng(seed)
    policy, prediction = rng.normal(size=(T, B, num_actions)), rng.normal(size=(T, B, width))
    return AgentOutput(policy=jnp.array(scale * policy, dtype), prediction=jnp.array(scale * prediction, dtype))
