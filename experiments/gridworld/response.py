"""What a rule asks of an agent, drawn: pi_hat against the reward, and back in time from it."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import plots
from experiments.common.compiling import once
from lopt.objectives import LPG, NoTime
from lopt.types import AgentOutput, Progress, Theta, Trajectory

STEPS, AT = 20, 15
"""Length of the made-up rollout, and the step at which it is rewarded."""
AGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Fractions n / N of the life."""


def response(rule: LPG, theta: Theta, rewards: np.ndarray, lifetime: int, num_actions: int = 5) -> np.ndarray:
    """pi_hat `[ages, rewards, STEPS]` of an agent that knows nothing yet, rewarded once, at step AT.

    Its policy is uniform over `num_actions` and its predictions are uniform; no episode ends.
    """

    def one(age, reward):
        progress = Progress(step=(age * lifetime).astype(jnp.int32), lifetime=jnp.int32(lifetime))
        ones, flat = jnp.ones((STEPS, 1)), partial(jnp.zeros, dtype=jnp.float32)
        traj = Trajectory(
            obs=(),
            action=jnp.zeros((STEPS, 1), jnp.int32),
            reward=flat((STEPS, 1)).at[AT].set(reward),
            discount=ones,
            truncated=jnp.zeros((STEPS, 1), bool),
            next_obs=(),
        )
        out = AgentOutput(policy=flat((STEPS, 1, num_actions)), prediction=flat((STEPS, 1, rule.prediction_size)))
        return rule.targets(theta, traj, out, out, progress).pi_hat[:, 0]

    grid = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    return np.asarray(once(grid)(jnp.array(AGES, jnp.float32), jnp.asarray(rewards, jnp.float32)))


def draw(rule: LPG, theta: Theta, lifetime: int, path: Path) -> None:
    """Write the picture; one line per age where the rule is told its age."""
    rewards = np.linspace(-1, 1, 41)
    pi_hat = response(rule, theta, rewards, lifetime)
    ages = range(1) if isinstance(rule.conditioning, NoTime) else range(len(AGES))
    with plots.figure(path, columns=2) as (drawing, axes):
        now, before = axes[0]
        for i in ages:
            look = {"color": plots.COLORS[i], "label": f"n/N = {AGES[i]:g}"}
            now.plot(rewards, pi_hat[i, :, AT], **look)
            before.plot(np.arange(STEPS) - AT, pi_hat[i, -1], **look)
        now.set(xlabel="reward of the step", ylabel="pi_hat of the step", title="what a reward asks for")
        before.set(xlabel="steps after the reward", ylabel="pi_hat", title="a reward of 1 at step 0")
        if len(ages) > 1:
            drawing.legend(*now.get_legend_handles_labels(), loc="outside right center")
