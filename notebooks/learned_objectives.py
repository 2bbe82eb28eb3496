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
# # Objectives that were discovered
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/lopt/blob/main/notebooks/learned_objectives.ipynb)
#
# PPO keeps a policy near the one that played: beyond a ratio of 1 ± 0.2 it earns nothing more. Is that the best way to
# hold back? *Learned policy optimisation* ([arXiv 2210.05639](https://arxiv.org/abs/2210.05639)) lets a small network
# decide what moving away costs, and what it found was read off as a formula, DPO. Told how much of an agent's life is
# over, such a network can also hold back more as time runs out
# ([arXiv 2402.05828](https://arxiv.org/abs/2402.05828)).
#
# Here we look inside such objectives, put one into a PPO that knows nothing of `lopt`, and take the first steps of
# learning one. A few minutes on a CPU.

# %%
import sys

if "google.colab" in sys.modules:
    # !pip install -q "lopt @ git+https://github.com/OWNER/lopt"
    # !test -d lopt-source || git clone -q --depth 1 https://github.com/OWNER/lopt lopt-source
    sys.path.insert(0, "lopt-source")  # environments and experiments live beside the library

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

FAST = os.environ.get("LOPT_FAST") == "1"  # the tests' switch: the same steps, but too few of them to learn
SEEDS, UPDATES = (2, 4) if FAST else (8, 60)  # agents, and updates in a life
GENERATIONS = 1 if FAST else 15
RULE = None  # or the path of a rule file, such as "runs/lpo/rule", to look at a drift that was trained for longer
BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#808080"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})


def plots(number, width=4.2):
    """A row of empty plots."""
    figure, axes = plt.subplots(1, number, figsize=(width * number, 2.9), layout="constrained")
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


# %% [markdown]
# ## 1. Inside a drift
#
# An action had probability $\pi_{old}(a)$ when it was taken and turned out with advantage $A$. With
# $r = \pi(a) / \pi_{old}(a)$ the policy maximises $r A - f(r, A)$. The *drift* $f$ is what moving away costs. Whatever
# it is, learning is sound as long as $f \ge 0$, and $f$ and its slope are zero at $r = 1$. PPO and DPO are two choices.

# %%
ratio, advantage = jnp.linspace(0.4, 1.8, 141), jnp.linspace(-3, 3, 121)


def surface(drift):
    """f over the plane."""
    r, a = jnp.meshgrid(ratio, advantage)
    return drift(jnp.log(r), a)


def slope(drift, a):
    """d(r A - f)/dr over the ratios."""
    return jax.vmap(jax.grad(lambda r: r * a - drift(jnp.log(r), jnp.float32(a))))(ratio)


named = {"PPO": (lopt.clip_drift(), GREY), "DPO": (lopt.dpo_drift(), BLUE)}
figure, axes = plots(4, 3.4)
for ax, (name, (drift, _)) in zip(axes, named.items(), strict=False):
    mesh = ax.pcolormesh(ratio, advantage, surface(drift), vmax=1.0, rasterized=True)
    ax.set(title=f"drift of {name}", xlabel="ratio r", ylabel="advantage A")
figure.colorbar(mesh, ax=list(axes[:2]))
for ax, a in zip(axes[2:], (1.0, -1.0), strict=True):
    for name, (drift, color) in named.items():
        ax.plot(ratio, slope(drift, a), color=color, label=name)
    ax.axhline(0, color="k", lw=0.5)
    ax.set(title=f"slope of the objective, A = {a:g}", xlabel="ratio r")
axes[2].legend()
plt.show()

# %% [markdown]
# Where the slope is zero nothing more is learned. PPO's falls to zero at once. DPO lets good actions grow on, ever more
# slowly, and gives *back* some of a bad action's probability once it has fallen too far: below $r \approx 0.56$ (at
# $A = -1$) the slope has changed its sign.
#
# ## 2. Into a PPO that is not ours
#
# A discovered objective is dropped in like an optimizer. Below is a small PPO of the usual kind, on gymnax's CartPole;
# the one line that matters is the call of `lopt.ppo_loss`.

# %%
env, env_params = gymnax.make("CartPole-v1")
WIDTH, STEPS, EPOCHS, MINIBATCHES = 16, 32, 4, 4
actor, critic = (nn.Sequential([nn.Dense(32), nn.tanh, nn.Dense(32), nn.tanh, nn.Dense(k)]) for k in (2, 1))


def train(key, drift):
    """Returns per update of one agent; everything but `drift` is textbook PPO."""
    key_actor, key_critic, key_reset, key_life = jax.random.split(key, 4)
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
        after, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key_env, WIDTH), env_state, action, env_params
        )
        log_prob = jnp.take_along_axis(log_probs(params, obs), action[:, None], 1)[:, 0]
        seen = (obs, action, log_prob, reward, terminated, terminated | truncated, info["final_observation"])
        return (env_state, after), seen

    def loss(params, batch):
        obs, action, old_log_prob, advantage, target = batch
        log_prob = jnp.take_along_axis(log_probs(params, obs), action[:, None], 1)[:, 0]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        policy_loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, drift)  # <- here
        return policy_loss + 0.5 * ((value(params, obs) - target) ** 2).mean()

    def update(carry, key):
        params, opt_state, playing = carry
        key_play, key_learn = jax.random.split(key)
        playing, seen = jax.lax.scan(partial(play, params), playing, jax.random.split(key_play, STEPS))
        obs, action, log_prob, reward, terminated, ended, final_obs = seen
        delta = reward + 0.99 * jnp.where(terminated, 0.0, value(params, final_obs)) - value(params, obs)

        def back(gae, x):
            gae = x[0] + 0.99 * 0.95 * jnp.where(x[1], 0.0, gae)
            return gae, gae

        _, advantage = jax.lax.scan(back, jnp.zeros(WIDTH), (delta, ended), reverse=True)
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
        return (params, opt_state, playing), reward.sum() / jnp.maximum(ended.sum(), 1)

    start = (params, optimizer.init(params), (env_state, obs))
    return jax.lax.scan(update, start, jax.random.split(key_life, UPDATES))[1]


figure, ax = plots(1, 5.5)
for name, (drift, color) in list(named.items())[-1 if FAST else 0 :]:
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
# ## 3. Learning one
#
# `LPO` is a drift with a small network inside, built so that it is valid whatever its weights are; `TALPO` also knows
# the fraction $n/N$ of the agent's life that is over. Such an objective has no gradient worth having (a whole life of
# learning lies between it and the return), so evolution looks for it: a pair of drifts, $\theta \pm \sigma\epsilon$,
# raises an agent each, and $\theta$ moves towards the better one's. Here are the first generations, on short lives.

# %%
drift = TALPO(hidden=32, floor=Clip())
cartpole = gymnax_env("CartPole-v1")
network = partial(MLP, (32, 32), activation=nn.tanh)
lifetime = PPOLifetime(
    env=cartpole,
    objective=PPO(drift),
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
    """CartPole, and a life of 30 updates."""
    return cartpole(key).replace(lifetime=jnp.int32(2 if FAST else 30))


meta = MetaLearner(
    ES(lifetime, num_updates=2 if FAST else 30, std=0.05, shaping=CentredRank()),
    DomainRandomisation(level),
    Uniform(),
    optax.adam(2e-2),
    num_lifetimes=2 if FAST else 12,
    stagger=False,
)
if RULE is None:
    theta = drift.init(jax.random.key(1))
else:
    from lopt.export import load_rule

    theta = load_rule(RULE).theta
state, step = jax.jit(meta.init)(jax.random.key(2), theta), jax.jit(meta.step)
fitness = []
for generation in range(GENERATIONS):
    state, metrics = step(jax.random.fold_in(jax.random.key(3), generation), state)
    fitness.append(-float(metrics["meta_loss"]))
print("mean return of the candidates, generation by generation:", np.round(fitness, 1))

# %% [markdown]
# ## 4. What time does to it
#
# The drift so far, at the beginning, in the middle and at the end of a life. That it differs with age is evolution
# trying things out: so few generations cannot tell what is better. `python -m experiments.lpo --preset ta` goes on for
# longer, compares what it finds with PPO and DPO, and writes a rule file; its path goes into `RULE` above.

# %%
figure, axes = plots(2, 4.8)
for ax, a in zip(axes, (1.0, -1.0), strict=True):
    ax.plot(ratio, slope(lopt.clip_drift(), a), color=GREY, ls="--", label="PPO")
    for age, color in ((0.0, GREEN), (0.5, BLUE), (1.0, RED)):
        when = Progress(step=jnp.int32(100 * age), lifetime=jnp.int32(100))
        ax.plot(
            ratio, slope(lopt.bind_drift(drift, state.theta, when), a), color=color, label=f"learned, n/N = {age:g}"
        )
    ax.set(title=f"slope of the objective, A = {a:g}", xlabel="ratio r")
axes[0].legend()
plt.show()
