"""Inputs of DiscoRL's rule: random ones, and those of the golden vectors, which are given in closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from lopt.objectives import DiscoInputs, DiscoOutput, DiscoRule, ValueBins
from lopt.types import Trajectory
from tests.reference.trajectories import endings


def small_rule(**changes):
    """A rule with few weights."""
    sizes = {"prediction_size": 4, "hidden": 8, "lifetime_hidden": 5, "embedding": 3, "bins": ValueBins(11, 2.0)}
    return DiscoRule(**(sizes | changes))


def random_inputs(rule, seed=0, T=6, B=3, num_actions=3, dtype=np.float32):
    """Random inputs with terminations and truncations; outputs at the next step differ from those one step later."""
    rng = np.random.default_rng(seed)
    discount, truncated = endings(rng, (T, B))

    def normal(*shape):
        return jnp.array(rng.normal(size=(T, B, *shape)), dtype)

    def output():
        return DiscoOutput(
            policy=normal(num_actions),
            y=normal(rule.prediction_size),
            z=normal(num_actions, rule.prediction_size),
            aux_policy=normal(num_actions, num_actions),
            q=normal(num_actions, rule.bins.number),
        )

    traj = Trajectory(
        obs=normal(),
        action=jnp.array(rng.integers(num_actions, size=(T, B)), jnp.int32),
        reward=normal(),
        discount=jnp.array(discount, dtype),
        truncated=jnp.array(truncated),
        next_obs=normal(),
    )
    return DiscoInputs(
        traj=traj,
        behaviour=normal(num_actions),
        out=output(),
        out_next=output(),
        target=output(),
        target_next=output(),
    )


def golden_inputs(shift):
    """The inputs of an update of the golden vectors; `shift` is that of the agent's outputs."""
    T, B, A = 5, 2, 3
    terminated = np.zeros((T, B), bool)
    terminated[2, 0] = terminated[3, 1] = True
    reward = jnp.array([[0, 1], [0.5, 0], [-2, 0], [0, 3], [1, -1]], jnp.float32)
    action = jnp.array([[0, 1], [2, 0], [1, 1], [0, 2], [2, 1]], jnp.int32)
    discount = jnp.asarray(1.0 - terminated, jnp.float32)
    traj = Trajectory(reward, action, reward, discount, jnp.zeros((T, B), bool), reward)
    (out, out_next), (target, target_next) = (_golden_outputs(T, B, A, s) for s in (shift, -0.2))
    behaviour = _golden_outputs(T, B, A, 0.05)[0].policy
    return DiscoInputs(traj, behaviour, out, out_next, target, target_next)


def _golden_outputs(T, B, A, s):
    t, b, a = np.ix_(np.arange(T + 1), np.arange(B), np.arange(A))
    k, n = np.arange(600), np.arange(601)
    each = (t + a + b)[..., None] + s
    both = DiscoOutput(
        policy=np.sin(1 + 0.7 * t + 1.3 * b + 2.1 * a + s),
        y=2 * np.sin(0.01 * k * (1 + t) + b + s),
        z=2 * np.cos(0.013 * k + (t + 2 * a + 3 * b)[..., None] + s),
        aux_policy=np.sin(np.arange(A) + each),
        q=-0.5 * ((n - 300 - 10 * np.sin(each)) / 5) ** 2,
    )
    both = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), both)
    return jax.tree.map(lambda x: x[:-1], both), jax.tree.map(lambda x: x[1:], both)
