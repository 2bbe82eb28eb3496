"""Response of a learned policy gradient to a reward: pi_hat as a function of the reward, and of the time before it."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lopt.evaluation import plots
from lopt.objectives import LPG, NoTime
from lopt.training.compiling import jit_once
from lopt.types import AgentOutput, Progress, Theta, Trajectory

STEPS, REWARDED = 20, 15
"""Length of the artificial rollout, and the step with the reward."""
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Values of n / N at which the response is evaluated."""


def response(rule: LPG, theta: Theta, rewards: np.ndarray, lifetime: int, num_actions: int = 5) -> np.ndarray:
    """pi_hat `[fractions, rewards, STEPS]` on a rollout with a single reward, at step REWARDED.

    The agent's policy is uniform over `num_actions` and its predictions are uniform; no episode ends.

    Args:
        rule: the learned policy gradient.
        theta: its meta-parameters.
        rewards: `[rewards]`, values of the single reward.
        lifetime: N, updates in the lifetime; n / N takes the values FRACTIONS.
        num_actions: number of actions.
    """

    def one(fraction, reward):
        progress = Progress(step=(fraction * lifetime).astype(jnp.int32), num_updates=jnp.int32(lifetime))
        ones, flat = jnp.ones((STEPS, 1)), partial(jnp.zeros, dtype=jnp.float32)
        traj = Trajectory(
            obs=(),
            action=jnp.zeros((STEPS, 1), jnp.int32),
            reward=flat((STEPS, 1)).at[REWARDED].set(reward),
            discount=ones,
            truncated=jnp.zeros((STEPS, 1), bool),
            next_obs=(),
        )
        out = AgentOutput(policy=flat((STEPS, 1, num_actions)), prediction=flat((STEPS, 1, rule.prediction_size)))
        return rule.targets(theta, traj, out, out, progress).pi_hat[:, 0]

    grid = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    return np.asarray(jit_once(grid)(jnp.array(FRACTIONS, jnp.float32), jnp.asarray(rewards, jnp.float32)))


def draw(rule: LPG, theta: Theta, lifetime: int, path: Path) -> None:
    """Draw the response; one line per fraction n / N where the rule has time inputs."""
    rewards = np.linspace(-1, 1, 41)
    pi_hat = response(rule, theta, rewards, lifetime)
    fractions = range(1) if isinstance(rule.conditioning, NoTime) else range(len(FRACTIONS))
    with plots.figure(path, columns=2) as (drawing, axes):
        by_reward, by_time = axes[0]
        for i in fractions:
            style = {"color": plots.COLORS[i], "label": f"n/N = {FRACTIONS[i]:g}"}
            by_reward.plot(rewards, pi_hat[i, :, REWARDED], **style)
            by_time.plot(np.arange(STEPS) - REWARDED, pi_hat[i, -1], **style)
        by_reward.set(xlabel="reward of the step", ylabel="pi_hat of the step", title="response to a reward")
        by_time.set(xlabel="steps after the reward", ylabel="pi_hat", title="response to a reward of 1 at step 0")
        if len(fractions) > 1:
            plots.shared_legend(drawing, by_reward)
