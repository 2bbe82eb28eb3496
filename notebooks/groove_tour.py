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
from lopt.export import load_rule, rebuild
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPG, LPGPenalty
from lopt.types import AgentOutput, Progress, Trajectory
from lopt.unroll import unroll

FAST = os.environ.get("LOPT_FAST") == "1"  # the tests' switch: the same steps, but too few of them to learn
RULE = None  # or the path of a rule file, such as "runs/groove/rule": sections 2 and 5 then show that rule

UPDATES = 5 if FAST else 50  # a lifetime: how often an agent updates itself
LIVES = 4 if FAST else 16  # agents in a measurement
LIFETIMES = 4 if FAST else 16  # agents that the rule is trained on, side by side
CHUNKS, CHUNK = (2, 2) if FAST else (20, 10)  # meta-steps: how many times how many
BLUE, RED, GREEN, INK = "#0072B2", "#D55E00", "#009E73", "#2f3542"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})
root = jax.random.key(0)


def plots(number):
    """A row of empty plots."""
    figure, axes = plt.subplots(1, number, figsize=(4.8 * number, 2.9), layout="constrained")
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


# %% [markdown]
# ## 1. Levels
#
# GROOVE draws its tasks from a distribution of grid worlds. `S` is the start, a disc is an object with its reward;
# the dark arc around it is the probability that collecting it ends the episode, its dots say how soon it comes back.
# A level is plain data (arrays), so many different levels can be played at once under `vmap`.

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
stories = {
    "nothing happens": {"color": "#a0a0a0"},
    "reward +1 at step 12": {"color": GREEN},
    "+1, and the episode ends": {"color": BLUE, "ls": "--"},
    "reward −1 at step 12": {"color": RED},
}
story = Trajectory(
    obs=None,
    action=jnp.zeros((T, B), int),
    reward=jnp.zeros((T, B)).at[when].set(jnp.array([0.0, 1.0, 1.0, -1.0])),
    discount=jnp.ones((T, B)).at[when, 2].set(0.0),
    truncated=jnp.zeros((T, B), bool),
    next_obs=None,
)


@partial(jax.jit, static_argnums=0)
def targets(objective, theta):
    """What an objective makes of the stories, for an agent that knows nothing yet."""
    out = AgentOutput(jnp.zeros((T, B, env.num_actions)), jnp.zeros((T, B, objective.prediction_size)))
    return objective.targets(theta, story, out, out, Progress(jnp.array(0), jnp.array(UPDATES)))


def draw_stories(weights):
    """The weights of the stories' steps under two rules, by title."""
    figure, axes = plots(2)
    for ax, (title, values) in zip(axes, weights.items(), strict=True):
        for line, (label, style) in zip(np.asarray(values).T, stories.items(), strict=True):
            ax.plot(line, **style, label=label, lw=2)
        ax.axvline(when, color="#e4e1da", lw=6, zorder=0)
        ax.set(title=title, xlabel="step of the rollout", xticks=range(0, T, 4))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    plt.show()


rule = rebuild(load_rule(RULE).card) if RULE else LPG(hidden=32)
untrained = jax.jit(rule.init)(root)

advantage, before = targets(A2C(normalise=False), ()).advantage, targets(rule, untrained).pi_hat
draw_stories({"A2C: advantage": advantage, r"untrained rule: $\hat\pi$": before})

# %% [markdown]
# ## 3. A life
#
# One agent, one level, one lifetime. `RLLifetime` plays, asks its objective what to become, and updates; whether the
# objective is A2C or a learned rule makes no difference to it. The agents are tables with one row per state.

# %%
actor, critic = partial(TableHead, env.num_states, 40.0, 0.5), partial(TableHead, env.num_states, 4.0, 0.5)
sizes = {"policy": actor, "prediction": critic, "num_envs": 16, "rollout_length": 20}
under_a2c = RLLifetime(env, A2C(), **sizes)
under_rule = RLLifetime(env, rule, baseline=ValueBaseline(critic(1)), **sizes)


def measure(lifetime):
    return MeanReturn(env, lifetime.agent.act, num_episodes=16, max_steps=100)


def live(lifetime, key, theta, level):
    """One life: the learner at birth, at the end, and its return after every update."""

    def update(key, learner):
        key_step, key_measure = jax.random.split(key)
        learner, _ = lifetime.step(key_step, theta, level, learner)
        return learner, measure(lifetime)(key_measure, level, learner)

    key_birth, key_life = jax.random.split(key)
    newborn = lifetime.init(key_birth, theta, level)
    return newborn, *unroll(update, key_life, newborn, UPDATES)


lives = jax.jit(jax.vmap(live, (None, 0, None, 0)), static_argnums=0)  # many agents, each with its key and level

# %% [markdown]
# Of the levels above we take the one with the highest optimal return, which is known exactly, and train 16 agents on it
# from their initial state. Under A2C they learn; the untrained rule teaches them nothing. (The level is chosen before
# any rule is trained, so it favours none.)

# %%
optimal = np.asarray(jax.jit(partial(jax.lax.map, partial(optimal_return, env)))(held_out.params))
shown = optimal.argmax()
level = jax.tree.map(lambda x: x[shown], held_out)
same = jax.tree.map(lambda x: jnp.broadcast_to(x, (LIVES, *x.shape)), level)
keys = jax.random.split(root, LIVES)

grown, returns = {}, {}
newborn, grown["A2C"], returns["A2C"] = lives(under_a2c, keys, (), same)
_, grown["untrained rule"], returns["untrained rule"] = lives(under_rule, keys, untrained, same)


def draw_returns():
    """Means over the agents, and the range of the middle 80 % of them."""
    _, ax = plots(1)
    for name, color in {"A2C": BLUE, "untrained rule": RED, "trained rule": GREEN}.items():
        if name in returns:
            low, high = np.quantile(returns[name], [0.1, 0.9], axis=0)
            ax.plot(returns[name].mean(0), color=color, label=name, lw=2)
            ax.fill_between(range(UPDATES), low, high, color=color, alpha=0.15, lw=0)
    ax.axhline(optimal[shown], color=INK, ls="--", lw=1, label="optimal")
    ax.set(xlabel="update of the agent", ylabel="return of an episode")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()


draw_returns()

# %% [markdown]
# And this is where an agent walks before and after its life, of the 16 the one with the median return at the end: cells
# are tinted by how often it visits them, arrows show its policy while all objects are there, and the line follows its
# most likely actions.


# %%
@jax.jit
def play(policy, greed):
    """A rollout of 16 players; `greed` sharpens the policy."""
    key_reset, key_play = jax.random.split(root)
    players = reset(key_reset, env, level.params, 16)
    head = actor(env.num_actions)
    return rollout(key_play, env, level.params, lambda obs: greed * head.apply(policy, obs), players, 100)[1]


def at_the_end(returns):
    """Mean returns over the last fifth of the updates, agent by agent."""
    return np.asarray(returns)[:, -UPDATES // 5 :].mean(1)


def draw_agent(ax, learners, title):
    """The agent of the median return, on the level; of newborn ones the first."""
    chosen = np.argsort(at_the_end(returns[title]))[LIVES // 2] if title in returns else 0
    policy = jax.tree.map(lambda x: x[chosen], learners.agent.policy.params)
    cells = np.asarray(play(policy, 1.0).obs.index) % env.num_cells
    visits = np.bincount(cells.ravel(), minlength=env.num_cells)
    table = np.asarray(jax.nn.softmax(policy["rows"])).reshape(-1, env.num_cells, env.num_actions)
    greedy = play(policy, 100.0)
    end = np.argmax(greedy.last[:, 0])
    path = np.append(greedy.obs.index[: end + 1, 0], greedy.next_obs.index[end, 0]) % env.num_cells
    render(level.params, env, ax, title)
    draw_visits(ax, visits, env)
    draw_policy(ax, table[pack(level.params.present)] * (visits > 0)[:, None], env)
    draw_path(ax, path, env)


def draw_agents():
    agents = {"newborn": newborn} | grown
    _, axes = plt.subplots(1, len(agents), figsize=(3.2 * len(agents), 3.5), layout="constrained")
    for ax, (title, learners) in zip(axes, agents.items(), strict=True):
        draw_agent(ax, learners, title)
    plt.show()


draw_agents()

# %% [markdown]
# ## 4. Meta-training
#
# Now the rule itself learns. A *meta-step* lets 16 agents, each on a level and in a life of its own, make 5 updates
# under the rule, asks how good they have become, and differentiates the answer through those updates with respect to
# the rule. When a life ends, GROOVE measures the *algorithmic regret* of its level, the return of an A2C agent after
# the same life minus the learner's, and replays levels on which the rule still has much to learn.

# %%
estimator = MetaGradient(under_rule, num_updates=5, penalty=LPGPenalty(), remat=False)
curriculum = Replay(generator=distribution, capacity=200)
score = AlgorithmicRegret(
    antagonist=under_a2c,
    num_updates=5,
    evaluate=measure(under_rule),
    evaluate_antagonist=measure(under_a2c),
)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
learner = MetaLearner(estimator, curriculum, score, optimizer, LIFETIMES)


@jax.jit
def meta_steps(key, state):
    return unroll(learner.step, key, state, CHUNK)


def held_out_return(lifetime, theta):
    """What newborn agents have learned at the end of their lives on levels that are not trained on."""
    late = lives(lifetime, keys, theta, held_out)[2][:, -UPDATES // 5 :]
    return float(late.mean())


# %% [markdown]
# The first call compiles, for about a minute; then a meta-step takes a fraction of a second.

# %%
state = jax.jit(learner.init)(root, untrained)
curve = [held_out_return(under_rule, untrained)]
for _ in range(CHUNKS):
    state, metrics = meta_steps(jax.random.fold_in(root, state.step), state)
    curve.append(held_out_return(under_rule, state.theta))
    print(f"meta-step {state.step:3d}   held-out return {curve[-1]:.2f}")

_, ax = plots(1)
ax.plot(CHUNK * np.arange(CHUNKS + 1), curve, color=GREEN, lw=2, marker="o", ms=4, label="learned rule")
ax.axhline(held_out_return(under_a2c, ()), color=BLUE, label="A2C")
ax.axhline(optimal.mean(), color=INK, ls="--", lw=1, label="optimal")
ax.set(xlabel="meta-step", ylabel="return of agents at the end\nof their lives, new levels")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## 5. The same life under the trained rule
#
# What did the rule discover? Nobody told it that rewards are good, nor that they are owed to the steps before them.

# %%
trained = load_rule(RULE).theta if RULE else state.theta

draw_stories({r"untrained rule: $\hat\pi$": before, r"trained rule: $\hat\pi$": targets(rule, trained).pi_hat})

# %%
_, grown["trained rule"], returns["trained rule"] = lives(under_rule, keys, trained, same)
draw_returns()
draw_agents()

# %% [markdown]
# The picture shows one agent on one level. Under A2C nearly every agent finds the way. Under a rule after so short a
# training they differ much more (the band in the plot above): most find it, later, and some stay beside the start,
# going back and forth. Nor is the rule as good as A2C yet; the numbers are over all agents, and over all levels.

# %%
here = {name: at_the_end(returns[name]).mean() for name in returns} | {"optimal": optimal[shown]}
print("on this level:    ", ",  ".join(f"{name} {value:.2f}" for name, value in here.items()))
everywhere = {
    "A2C": at_the_end(lives(under_a2c, keys, (), held_out)[2]),
    "trained rule": at_the_end(lives(under_rule, keys, trained, held_out)[2]),
}
means = {name: value.mean() for name, value in everywhere.items()} | {"optimal": optimal.mean()}
print(f"on all {LIVES} levels:", ",  ".join(f"{name} {value:.2f}" for name, value in means.items()))
ahead = (everywhere["trained rule"] > everywhere["A2C"]).sum()
print(f"agents under the trained rule earn more than those under A2C on {ahead} of {LIVES} levels")

# %% [markdown]
# ## 6. The levels that the curriculum prefers
#
# The replay buffer after this short training: where A2C is still ahead of the rule (replayed first), and where the
# rule has caught up.

# %%
ends = extremes(state.curriculum, 4)
for word, levels, regrets in (
    ("highest", ends.levels_high, ends.scores_high),
    ("lowest", ends.levels_low, ends.scores_low),
):
    render_grid(levels.params, env, titles=[f"regret {regret:+.2f}" for regret in regrets]).suptitle(f"{word} regret")
plt.show()

# %% [markdown]
# ## 7. Where to go from here
#
# - `python -m experiments.groove` is this study at full length, with checkpoints, a report and the rule as a file
#   (`rule.npz`, `rule.json`) that `RULE` above can point to. `--preset paper` has the paper's sizes.
# - Swap a part: `DomainRandomisation(distribution)` for `Replay` and `Uniform()` for the score give plain LPG;
#   `PositiveValueLoss()` or `MaxMC()` are other scores; `LPG(conditioning=FractionAndLogLifetime())` tells the rule
#   where in its life the agent is.
# - Write your own: an objective is a class with `targets` and `loss` (`lopt/protocols.py`), and everything above
#   takes it unchanged.
