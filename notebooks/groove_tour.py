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
# # GROOVE: meta-training a learned policy gradient
#
# Policy-gradient objectives such as A2C and PPO are hand-designed. In this notebook the objective is a small recurrent
# network (LPG, [arXiv 2007.08794](https://arxiv.org/abs/2007.08794)), meta-trained on the lifetimes of many agents in
# grid worlds with GROOVE ([arXiv 2310.02782](https://arxiv.org/abs/2310.02782)). Everything runs in a few minutes on a
# CPU.
#
# In Colab, set `LOPT` in the first cell, which installs it. If pip says that it changed `jax`, choose *Runtime >
# Restart session* and run the cell again.

# %%
import sys

LOPT = "lopt"  # what pip installs in Colab: a wheel, a folder, or git+https:// and the address of a clone
if "google.colab" in sys.modules:
    # !pip install -q {LOPT}
    pass

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
from lopt.agents import MeanReturn, RLLifetime, TrainableTable, ValueBaseline, reset, rollout
from lopt.curriculum import AlgorithmicRegret, Replay, extremes
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPG, LPGRegulariser
from lopt.rules import load_rule, rebuild
from lopt.types import AgentOutput, Progress, Trajectory
from lopt.unroll import unroll

FAST = os.environ.get("LOPT_FAST") == "1"  # set by the tests: the same code with too few steps to learn
RULE = None  # or the path of a rule file, such as "runs/groove/rule", which sections 2 and 5 then use

UPDATES = 5 if FAST else 50  # updates of an agent in its lifetime
AGENTS = 4 if FAST else 16  # agents trained for an evaluation
LIFETIMES = 4 if FAST else 16  # lifetimes side by side in meta-training
CHUNKS, CHUNK = (2, 2) if FAST else (20, 10)  # number of chunks, meta-steps per chunk
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
# GROOVE draws its levels from a distribution of grid worlds. `S` is the start, a disc is an object with its reward;
# the dark arc around it is the probability that collecting it ends the episode, and its dots show how soon it respawns.
# A level is data (arrays), so that rollouts on many different levels run in parallel under `vmap`.

# %%
distribution = All(max_steps=LogUniform(20, 100), num_updates=Fixed(UPDATES))
env = distribution.environment
held_out = jax.jit(jax.vmap(distribution))(jax.random.split(jax.random.key(1), AGENTS))

render_grid(jax.tree.map(lambda x: x[:8], held_out.params), env)
plt.show()

# %% [markdown]
# ## 2. The learned policy gradient
#
# LPG reads a rollout from its last step to its first and outputs $\hat\pi_t$ for every step. The agent follows the
# gradient of $\hat\pi_t \log \pi(a_t)$. (LPG also outputs a target $\hat y_t$ for a vector of predictions, whose
# semantics is meta-learned.) In A2C the advantage has the role of $\hat\pi_t$. Both are drawn here for four artificial
# rollouts of 20 steps.

# %%
T, B, rewarded = 20, 4, 12
examples = {
    "no reward": {"color": "#a0a0a0"},
    "reward +1 at step 12": {"color": GREEN},
    "+1, and the episode ends": {"color": BLUE, "ls": "--"},
    "reward −1 at step 12": {"color": RED},
}
traj = Trajectory(
    obs=None,
    action=jnp.zeros((T, B), int),
    reward=jnp.zeros((T, B)).at[rewarded].set(jnp.array([0.0, 1.0, 1.0, -1.0])),
    discount=jnp.ones((T, B)).at[rewarded, 2].set(0.0),
    truncated=jnp.zeros((T, B), bool),
    next_obs=None,
)


@partial(jax.jit, static_argnums=0)
def targets(objective, theta):
    """Targets of an objective on the rollouts, for a uniform policy and zero predictions."""
    out = AgentOutput(jnp.zeros((T, B, env.num_actions)), jnp.zeros((T, B, objective.prediction_size)))
    return objective.targets(theta, traj, out, out, Progress(jnp.array(0), jnp.array(UPDATES)))


def draw_examples(weights):
    """Draw the weights `[T, B]` of log pi(a) under two objectives, by title."""
    figure, axes = plots(2)
    for ax, (title, values) in zip(axes, weights.items(), strict=True):
        for line, (label, style) in zip(np.asarray(values).T, examples.items(), strict=True):
            ax.plot(line, **style, label=label, lw=2)
        ax.axvline(rewarded, color="#e4e1da", lw=6, zorder=0)
        ax.set(title=title, xlabel="step of the rollout", xticks=range(0, T, 4))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    plt.show()


rule = rebuild(load_rule(RULE).card) if RULE else LPG(hidden=32)
untrained = jax.jit(rule.init)(root)

advantage, before = targets(A2C(normalise=False), ()).advantage, targets(rule, untrained).pi_hat
draw_examples({"A2C: advantage": advantage, r"untrained rule: $\hat\pi$": before})

# %% [markdown]
# ## 3. A lifetime
#
# A lifetime is the training of one agent on one level, from its initialisation. An update of `RLLifetime` is a rollout,
# the targets of the objective, and a gradient step; A2C and learned rules share this interface. The agents are tables
# with one row per state.

# %%
actor, critic = (
    partial(TrainableTable, num_states=env.num_states, learning_rate=40.0, max_norm=0.5),
    partial(TrainableTable, num_states=env.num_states, learning_rate=4.0, max_norm=0.5),
)
sizes = {"policy": actor, "prediction": critic, "num_envs": 16, "rollout_length": 20}
under_a2c = RLLifetime(env=env, objective=A2C(), **sizes)
under_rule = RLLifetime(
    env=env, objective=rule, baseline=ValueBaseline(critic=critic(features=1)), regulariser=LPGRegulariser(), **sizes
)


def evaluator(lifetime):
    return MeanReturn(env=env, policy=lifetime.agent.act, num_episodes=16, max_steps=100)


def train_agent(lifetime, key, theta, level):
    """One lifetime: the initial learner, the trained learner, and its return after every update."""

    def update(key, learner):
        key_step, key_evaluate = jax.random.split(key)
        learner, _ = lifetime.step(key_step, theta, level, learner)
        return learner, evaluator(lifetime)(key_evaluate, level, learner)

    key_init, key_train = jax.random.split(key)
    initial = lifetime.init(key_init, theta, level)
    return initial, *unroll(update, key_train, initial, UPDATES)


train_agents = jax.jit(jax.vmap(train_agent, (None, 0, None, 0)), static_argnums=0)  # one key and level per agent

# %% [markdown]
# On the level with the highest optimal return, which is computed exactly, 16 agents are trained from scratch. Their
# return rises under A2C and does not under the untrained rule. (The level is chosen before meta-training, so the choice
# favours neither.)

# %%
optimal = np.asarray(jax.jit(partial(jax.lax.map, partial(optimal_return, env)))(held_out.params))
shown = optimal.argmax()
level = jax.tree.map(lambda x: x[shown], held_out)
same = jax.tree.map(lambda x: jnp.broadcast_to(x, (AGENTS, *x.shape)), level)
keys = jax.random.split(root, AGENTS)

learners, returns = {}, {}
initial, learners["A2C"], returns["A2C"] = train_agents(under_a2c, keys, (), same)
_, learners["untrained rule"], returns["untrained rule"] = train_agents(under_rule, keys, untrained, same)


def draw_returns():
    """Draw the mean return over agents, and the range of the middle 80 % of them."""
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
# The picture shows the initial agent, and of the 16 trained agents the one with the median final return. The colour of
# a cell is the number of visits, arrows show the policy while all objects are present, and the line follows the most
# likely actions.


# %%
@jax.jit
def play(policy, inverse_temperature):
    """A rollout of 100 steps in 16 environments, with the logits of the policy times `inverse_temperature`."""
    key_reset, key_play = jax.random.split(root)
    env_batch = reset(key_reset, env, level.params, 16)
    table = actor(features=env.num_actions)

    def logits(obs):
        return inverse_temperature * table.apply(policy, obs)

    return rollout(key_play, env, level.params, logits, env_batch, 100)[1]


def final_returns(returns):
    """Mean return of each agent over the last fifth of the updates."""
    return np.asarray(returns)[:, -UPDATES // 5 :].mean(1)


def draw_agent(ax, agents, title):
    """Draw the agent with the median final return on the level; of initial agents the first."""
    chosen = np.argsort(final_returns(returns[title]))[AGENTS // 2] if title in returns else 0
    policy = jax.tree.map(lambda x: x[chosen], agents.agent.policy.params)
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
    panels = {"initial agent": initial} | learners
    _, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.5), layout="constrained")
    for ax, (title, agents) in zip(axes, panels.items(), strict=True):
        draw_agent(ax, agents, title)
    plt.show()


draw_agents()

# %% [markdown]
# ## 4. Meta-training
#
# In a *meta-step* 16 agents, each with its own level and lifetime, make 5 updates under the rule. The meta-loss is
# differentiated through these updates with respect to the meta-parameters. At the end of a lifetime GROOVE evaluates
# the *algorithmic regret* of its level, the return of an A2C agent after as many updates minus the learner's, and
# replays levels with a high regret.

# %%
estimator = MetaGradient(lifetime=under_rule, num_updates=5, remat=False)
curriculum = Replay(generator=distribution, capacity=200)
score = AlgorithmicRegret(
    antagonist=under_a2c,
    num_updates=5,
    evaluate=evaluator(under_rule),
    evaluate_antagonist=evaluator(under_a2c),
)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
learner = MetaLearner(
    estimator=estimator, curriculum=curriculum, score=score, optimizer=optimizer, num_lifetimes=LIFETIMES
)


@jax.jit
def meta_steps(key, state):
    return unroll(learner.step, key, state, CHUNK)


def held_out_return(lifetime, theta):
    """Mean final return of agents trained from scratch on held-out levels."""
    return float(train_agents(lifetime, keys, theta, held_out)[2][:, -UPDATES // 5 :].mean())


# %% [markdown]
# The first call compiles for about a minute; after that a meta-step takes a fraction of a second.

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
ax.set(xlabel="meta-step", ylabel="final return of agents\non held-out levels")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## 5. Meta-testing the trained rule
#
# The sign of $\hat\pi$ after a reward, and its extension to the steps before the reward (credit assignment), are
# meta-learned: neither is built into the rule.

# %%
trained = load_rule(RULE).theta if RULE else state.theta

draw_examples({r"untrained rule: $\hat\pi$": before, r"trained rule: $\hat\pi$": targets(rule, trained).pi_hat})

# %%
_, learners["trained rule"], returns["trained rule"] = train_agents(under_rule, keys, trained, same)
draw_returns()
draw_agents()

# %% [markdown]
# The picture shows one agent on one level. Under A2C nearly every agent reaches the objects. After this short
# meta-training, agents under the rule have a larger variance (the band in the plot above): most reach the objects after
# more updates, and some stay near the start. The mean return is below that of A2C. The numbers are over all agents on
# this level, and over all levels.

# %%
means = {name: final_returns(returns[name]).mean() for name in returns} | {"optimal": optimal[shown]}
print("on this level:    ", ",  ".join(f"{name} {value:.2f}" for name, value in means.items()))
per_level = {
    "A2C": final_returns(train_agents(under_a2c, keys, (), held_out)[2]),
    "trained rule": final_returns(train_agents(under_rule, keys, trained, held_out)[2]),
}
means = {name: value.mean() for name, value in per_level.items()} | {"optimal": optimal.mean()}
print(f"on all {AGENTS} levels:", ",  ".join(f"{name} {value:.2f}" for name, value in means.items()))
ahead = (per_level["trained rule"] > per_level["A2C"]).sum()
print(f"the return under the trained rule is higher than under A2C on {ahead} of {AGENTS} levels")

# %% [markdown]
# ## 6. Levels by regret
#
# Levels with the highest regret in the replay buffer, which are replayed most often, and levels with the lowest regret.

# %%
ends = extremes(state.curriculum, 4)
for label, levels, regrets in (
    ("highest", ends.levels_high, ends.scores_high),
    ("lowest", ends.levels_low, ends.scores_low),
):
    render_grid(levels.params, env, titles=[f"regret {regret:+.2f}" for regret in regrets]).suptitle(f"{label} regret")
plt.show()

# %% [markdown]
# ## 7. Next steps
#
# - `python -m experiments.groove` runs this study with more meta-steps, checkpoints, a report and a rule file
#   (`rule.npz`, `rule.json`), whose path can be set as `RULE` above. `--preset paper` has the paper's sizes.
# - Replace a part: `DomainRandomisation(distribution)` for `Replay` and `Uniform()` for the score give LPG;
#   `PositiveValueLoss()` and `MaxMC()` are other scores; `LPG(conditioning=FractionAndLogNumUpdates())` has time
#   inputs.
# - Write your own: an objective is a class with `targets` and `loss` (`lopt/protocols.py`), and works with all of the
#   above.
