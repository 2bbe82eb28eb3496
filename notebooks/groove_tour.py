# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A learning rule that was learned
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/lopt/blob/main/notebooks/groove_tour.ipynb)
#
# An agent learns by some rule: play, look back, make what went well more likely. People wrote such rules by hand
# (A2C, PPO). In this notebook a small recurrent network *is* the rule, and it is trained on many whole lives of
# agents in grid worlds. The method is GROOVE ([arXiv 2310.02782](https://arxiv.org/abs/2310.02782)), the rule is LPG
# ([arXiv 2007.08794](https://arxiv.org/abs/2007.08794)). Everything runs in a few minutes on a CPU.
#
# In Colab the first cell installs `lopt`. If pip says that it changed `jax`, choose *Runtime > Restart session* and
# run the cell again.

# %%
import sys

if "google.colab" in sys.modules:
    # !pip install -q "lopt @ git+https://github.com/OWNER/lopt"
    # !test -d lopt-source || git clone -q --depth 1 https://github.com/OWNER/lopt lopt-source
    sys.path.insert(0, "lopt-source")  # grid worlds and experiments live beside the library

# %%
import os
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from envs import Fixed, LogUniform
from envs.gridworld import All, draw_path, draw_policy, draw_visits, optimal_return, pack, render, render_grid
from lopt.agents import MeanReturn, RLLifetime, TableHead, ValueBaseline, reset, rollout
from lopt.curriculum import AlgorithmicRegret, Replay, extremes
from lopt.export import load_rule
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPG, LPGPenalty
from lopt.types import AgentOutput, Progress, Trajectory
from lopt.unroll import unroll

FAST = os.environ.get("LOPT_FAST") == "1"  # the tests' switch: the same steps, but too few of them to learn
RULE = None  # or the path of a rule file, such as "runs/groove/rule", to look at that rule

UPDATES = 5 if FAST else 50  # a lifetime: how often an agent updates itself
LIVES = 4 if FAST else 16  # agents in a measurement
LIFETIMES = 4 if FAST else 32  # agents that the rule is trained on, side by side
CHUNKS, CHUNK = (2, 2) if FAST else (15, 10)  # meta-steps: how many times how many
BLUE, RED, GREEN, INK = "#0072B2", "#D55E00", "#009E73", "#2f3542"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "font.size": 9})
root = jax.random.key(0)

# %% [markdown]
# ## 1. Levels
#
# GROOVE draws its tasks from a distribution of grid worlds. `S` is the start, a disc is an object with its reward;
# the dark arc around it is the probability that collecting it ends the episode, its dots say how soon it comes back.
# A level is plain data (arrays), so a batch of different levels is a `vmap`.

# %%
distribution = All(max_steps=LogUniform(20, 100), lifetime=Fixed(UPDATES))
env = distribution.environment
held_out = jax.jit(jax.vmap(distribution))(jax.random.split(jax.random.key(1), LIVES))

render_grid(jax.tree.map(lambda x: x[:8], held_out.params), env)
plt.show()

# %% [markdown]
# ## 2. What a learned rule is
#
# LPG reads a rollout from its end to its beginning and gives every step a number, $\hat\pi_t$: how much more likely
# the action taken there should become. (It also gives a target $\hat y_t$ for a vector of predictions, whose meaning
# it has to invent.) The agent then follows the gradient of $\hat\pi_t \log \pi(a_t)$. For A2C that number is the
# advantage, so the two can be drawn side by side, here on four made-up rollouts of 20 steps.

# %%
T, B, when = 20, 4, 12
stories = ["nothing happens", "reward +1 at step 12", "reward −1 at step 12", "reward +1, and the episode ends"]
reward = jnp.zeros((T, B)).at[when].set(jnp.array([0.0, 1.0, -1.0, 1.0]))
discount = jnp.ones((T, B)).at[when, 3].set(0.0)
story = Trajectory(None, jnp.zeros((T, B), int), reward, discount, jnp.zeros((T, B), bool), None)


@partial(jax.jit, static_argnums=0)
def targets(objective, theta):
    """What an objective makes of the stories, for an agent that knows nothing yet."""
    out = AgentOutput(jnp.zeros((T, B, env.num_actions)), jnp.zeros((T, B, objective.prediction_size)))
    return objective.targets(theta, story, out, out, Progress(jnp.array(0), jnp.array(UPDATES)))


def draw_stories(ax, what, title):
    for values, label, color in zip(np.asarray(what).T, stories, ("#909090", GREEN, RED, BLUE), strict=True):
        ax.plot(values, color=color, label=label, lw=2, ls=":" if color == "#909090" else "-")
    ax.axvline(when, color="#d0d0d0", lw=6, zorder=0)
    ax.set(title=title, xlabel="step of the rollout")


rule = LPG(hidden=32)
untrained = jax.jit(rule.init)(root)

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
draw_stories(axes[0], targets(A2C(normalise=False), ()).advantage, "A2C: advantage")
draw_stories(axes[1], targets(rule, untrained).pi_hat, "untrained LPG: $\\hat\\pi$")
axes[0].legend()
plt.show()

# %% [markdown]
# ## 3. A life
#
# One agent, one level, one lifetime. `RLLifetime` plays, asks its objective what to become, and updates; whether the
# objective is A2C or a learned rule makes no difference to it. The agents are tables: one row per state.

# %%
actor, critic = partial(TableHead, env.num_states, 40.0, 0.5), partial(TableHead, env.num_states, 4.0, 0.5)
life = partial(RLLifetime, env, policy=actor, prediction=critic, num_envs=16, rollout_length=20)
under_a2c = life(A2C())
under_rule = life(rule, baseline=ValueBaseline(critic(1)))


def live(lifetime, key, theta, level):
    """One life: the learner at its end, and its return after every update."""
    measure = MeanReturn(env, lifetime.agent.act, num_episodes=16, max_steps=100)

    def update(key, learner):
        key_step, key_measure = jax.random.split(key)
        learner, _ = lifetime.step(key_step, theta, level, learner)
        return learner, measure(key_measure, level, learner)

    key_birth, key_life = jax.random.split(key)
    return unroll(update, key_life, lifetime.init(key_birth, theta, level), UPDATES)


lives = jax.jit(jax.vmap(live, (None, 0, None, 0)), static_argnums=0)
