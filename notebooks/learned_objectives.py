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
# # Learned objectives: PPO, DPO and LPO
#
# PPO keeps a policy near the one that collected the data, by clipping the probability ratio to 1 ± 0.2. *Learned policy
# optimisation* ([arXiv 2210.05639](https://arxiv.org/abs/2210.05639)) replaces clipping by a drift function that is a
# small network, meta-trained by evolution strategies; DPO is a formula fitted to such a network. With the fraction of
# the agent's lifetime as an input, the drift can also depend on time
# ([arXiv 2402.05828](https://arxiv.org/abs/2402.05828)).
#
# This notebook draws such drifts, uses one in a PPO that is independent of `lopt`, and runs a few meta-steps of LPO. It
# takes a few minutes on a CPU.

# %%
import sys

LOPT = "lopt"  # what pip installs in Colab: a wheel, a folder, or git+https:// and the address of a clone
if "google.colab" in sys.modules:
    # !pip install -q {LOPT}
    pass

# %%
import os
from functools import partial

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import lopt
from envs.gymnax import gymnax_env
from lopt.agents import MinibatchEpochs, PPOLifetime
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import ES, CentredRank, MetaLearner
from lopt.nets import MLP
from lopt.objectives import PPO, TALPO, Clip
from lopt.types import Progress

FAST = os.environ.get("LOPT_FAST") == "1"  # set by the tests: the same code with too few steps to learn
SEEDS, UPDATES = (2, 4) if FAST else (8, 60)  # agents, and updates in a lifetime
GENERATIONS = 1 if FAST else 15
RULE = None  # or the path of a rule file, such as "runs/lpo/rule", to continue from that drift
BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#808080"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})


def plots(number, width=4.2):
    """A row of empty plots."""
    figure, axes = plt.subplots(1, number, figsize=(width * number, 2.9), layout="constrained")
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


# %% [markdown]
# ## 1. Drift functions
#
# Let $r = \pi(a) / \pi_{old}(a)$ be the probability ratio of an action with advantage $A$. The policy maximises
# $r A - f(r, A)$, where $f$ is the *drift*. Mirror learning has its guarantees for every $f \ge 0$ that is zero with
# zero slope at $r = 1$. PPO and DPO are two choices.

# %%
ratio, advantage = jnp.linspace(0.4, 1.8, 141), jnp.linspace(-3, 3, 121)


def surface(drift):
    """f on the grid of ratios and advantages."""
    r, a = jnp.meshgrid(ratio, advantage)
    return drift(jnp.log(r), a)


def slope(drift, a):
    """d(r A - f)/dr at the ratios."""
    return jax.vmap(jax.grad(lambda r: r * a - drift(jnp.log(r), jnp.float32(a))))(ratio)


drifts = {"PPO": (lopt.clip_drift(), GREY), "DPO": (lopt.dpo_drift(), BLUE)}
figure, axes = plots(4, 3.4)
for ax, (name, (drift, _)) in zip(axes, drifts.items(), strict=False):
    mesh = ax.pcolormesh(ratio, advantage, surface(drift), vmax=1.0, rasterized=True)
    ax.set(title=f"drift of {name}", xlabel="ratio r", ylabel="advantage A")
figure.colorbar(mesh, ax=list(axes[:2]))
for ax, a in zip(axes[2:], (1.0, -1.0), strict=True):
    for name, (drift, color) in drifts.items():
        ax.plot(ratio, slope(drift, a), color=color, label=name)
    ax.axhline(0, color="k", lw=0.5)
    ax.set(title=f"slope of the objective, A = {a:g}", xlabel="ratio r")
axes[2].legend()
plt.show()

# %% [markdown]
# Where the slope is zero a sample has no gradient. The slope of PPO jumps to zero at the clipping threshold. The slope
# of DPO at $A = 1$ decreases with $r$ and stays positive; at $A = -1$ it changes its sign at $r \approx 0.56$, so that
# probabilities below this ratio are increased again.
#
# ## 2. A drift in an independent PPO
#
# Below is a small standard PPO on gymnax's CartPole. The drift enters in one line, the call of `lopt.ppo_loss`.

# %%
env, env_params = gymnax.make("CartPole-v1")
WIDTH, STEPS, EPOCHS, MINIBATCHES = 16, 32, 4, 4
actor, critic = (nn.Sequential([nn.Dense(32), nn.tanh, nn.Dense(32), nn.tanh, nn.Dense(k)]) for k in (2, 1))


def train(key, drift):
    """Mean episode length per update of one agent; everything except `drift` is standard PPO."""
    key_actor, key_critic, key_reset, key_train = jax.random.split(key, 4)
    obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(key_reset, WIDTH), env_params)
    params = {"actor": actor.init(key_actor, obs), "critic": critic.init(key_critic, obs)}
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3))

    def value(params, obs):
        return critic.apply(params["critic"], obs)[..., 0]

    def log_probs(params, obs):
        return jax.nn.log_softmax(actor.apply(params["actor"], obs))

    def play(params, carry, key):
        env_state, obs = carry
        key_act, key_env = jax.random.split(key)
        action = jax.random.categorical(key_act, log_probs(params, obs))
        next_obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key_env, WIDTH), env_state, action, env_params
        )
        log_prob = jnp.take_along_axis(log_probs(params, obs), action[:, None], 1)[:, 0]
        step = (obs, action, log_prob, reward, terminated, terminated | truncated, info["final_observation"])
        return (env_state, next_obs), step

    def loss(params, batch):
        obs, action, old_log_prob, advantage, target = batch
        log_prob = jnp.take_along_axis(log_probs(params, obs), action[:, None], 1)[:, 0]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        policy_loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, drift)  # the only line that uses lopt
        return policy_loss + 0.5 * ((value(params, obs) - target) ** 2).mean()

    def update(carry, key):
        params, opt_state, env_carry = carry
        key_play, key_learn = jax.random.split(key)
        env_carry, steps = jax.lax.scan(partial(play, params), env_carry, jax.random.split(key_play, STEPS))
        obs, action, log_prob, reward, terminated, ended, final_obs = steps
        delta = reward + 0.99 * jnp.where(terminated, 0.0, value(params, final_obs)) - value(params, obs)

        def backward(gae, x):
            gae = x[0] + 0.99 * 0.95 * jnp.where(x[1], 0.0, gae)
            return gae, gae

        _, advantage = jax.lax.scan(backward, jnp.zeros(WIDTH), (delta, ended), reverse=True)
        batch = (obs, action, log_prob, advantage, advantage + value(params, obs))
        batch = jax.tree.map(lambda x: x.reshape(STEPS * WIDTH, *x.shape[2:]), batch)
        order = jax.vmap(lambda k: jax.random.permutation(k, STEPS * WIDTH))(jax.random.split(key_learn, EPOCHS))

        def minibatch(carry, index):
            params, opt_state = carry
            grads = jax.grad(loss)(params, jax.tree.map(lambda x: x[index], batch))
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        index = order.reshape(EPOCHS * MINIBATCHES, -1)
        (params, opt_state), _ = jax.lax.scan(minibatch, (params, opt_state), index)
        return (params, opt_state, env_carry), reward.sum() / jnp.maximum(ended.sum(), 1)

    initial = (params, optimizer.init(params), (env_state, obs))
    return jax.lax.scan(update, initial, jax.random.split(key_train, UPDATES))[1]


figure, ax = plots(1, 5.5)
for name, (drift, color) in list(drifts.items())[-1 if FAST else 0 :]:
    curves = np.asarray(
        jax.jit(jax.vmap(lambda key, drift=drift: train(key, drift)))(jax.random.split(jax.random.key(0), SEEDS))
    )
    x = np.arange(1, UPDATES + 1) * WIDTH * STEPS
    ax.fill_between(x, *np.percentile(curves, [25, 75], axis=0), color=color, alpha=0.2, lw=0)
    ax.plot(x, curves.mean(0), color=color, label=f"{name}: last fifth {curves[:, -UPDATES // 5 :].mean():.0f}")
ax.set(xlabel="environment steps", ylabel="steps per episode", title=f"CartPole, {SEEDS} agents each")
ax.legend()
plt.show()

# %% [markdown]
# ## 3. Meta-training a drift
#
# `LPO` is a drift with a small network that satisfies the conditions of section 1 for all weights; `TALPO` also has the
# fraction $n/N$ of the agent's lifetime as an input. The fitness is the return after a whole lifetime, for which
# gradients through all updates are impractical. It is maximised by evolution strategies with antithetic pairs of drifts
# $\theta \pm \sigma\epsilon$, under each of which an agent is trained. These are the first generations, on short
# lifetimes.

# %%
drift = TALPO(hidden=32, base_drift=Clip())
cartpole = gymnax_env("CartPole-v1")
network = partial(MLP, (32, 32), activation=nn.tanh)
lifetime = PPOLifetime(
    env=cartpole,
    objective=PPO(drift=drift),
    policy=network,
    prediction=network,
    optimizer=optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
    num_envs=8,
    rollout_length=16 if FAST else 32,
    epochs=MinibatchEpochs(4, 4),
    eval_episodes=8,
    eval_steps=10 if FAST else 500,
)


def level(key):
    """CartPole with a lifetime of 30 updates."""
    return cartpole(key).replace(num_updates=jnp.int32(2 if FAST else 30))


meta = MetaLearner(
    estimator=ES(lifetime=lifetime, num_updates=2 if FAST else 30, std=0.05, shaping=CentredRank()),
    curriculum=DomainRandomisation(level),
    score=Uniform(),
    optimizer=optax.adam(2e-2),
    num_lifetimes=2 if FAST else 12,
    stagger=False,
)
if RULE is None:
    theta = drift.init(jax.random.key(1))
else:
    from lopt.rules import load_rule

    theta = load_rule(RULE).theta
state, step = jax.jit(meta.init)(jax.random.key(2), theta), jax.jit(meta.step)
fitness = []
for generation in range(GENERATIONS):
    state, metrics = step(jax.random.fold_in(jax.random.key(3), generation), state)
    fitness.append(-float(metrics["meta_loss"]))
print("mean return of the candidates per generation:", np.round(fitness, 1))

# %% [markdown]
# ## 4. Dependence on time
#
# The current drift at the beginning, in the middle and at the end of a lifetime. After so few generations its
# dependence on time is no evidence of a benefit. `python -m experiments.lpo --preset ta` runs more generations,
# compares the drift with PPO and DPO, and writes a rule file, whose path can be set as `RULE` above.

# %%
figure, axes = plots(2, 4.8)
for ax, a in zip(axes, (1.0, -1.0), strict=True):
    ax.plot(ratio, slope(lopt.clip_drift(), a), color=GREY, ls="--", label="PPO")
    for fraction, color in ((0.0, GREEN), (0.5, BLUE), (1.0, RED)):
        progress = Progress(step=jnp.int32(100 * fraction), num_updates=jnp.int32(100))
        learned = lopt.bind_drift(drift, state.theta, progress)
        ax.plot(ratio, slope(learned, a), color=color, label=f"learned, n/N = {fraction:g}")
    ax.set(title=f"slope of the objective, A = {a:g}", xlabel="ratio r")
axes[0].legend()
plt.show()
