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
# # Discovering an optimizer
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/lopt/blob/main/notebooks/discover_an_optimizer.ipynb)
#
# Lion was not invented: it was *found*, by evolution among programs that began with AdamW
# ([arXiv 2302.06675](https://arxiv.org/abs/2302.06675)). Here we look at such programs, see what it takes to try many
# of them a second, and let a small evolution run. A few minutes on a CPU; `python -m experiments.lion_search` is the
# same with baselines, a funnel and a report.

# %%
import sys

if "google.colab" in sys.modules:
    # !pip install -q "lopt @ git+https://github.com/OWNER/lopt"
    # !test -d lopt-source || git clone -q --depth 1 https://github.com/OWNER/lopt lopt-source
    sys.path.insert(0, "lopt-source")  # experiments live beside the library

# %%
import os
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from lopt import search, tasks
from lopt.search import published
from lopt.search.evolution import Memory, Search, Tournament
from lopt.search.population import Evaluator, Proxy, Rung

FAST = os.environ.get("LOPT_FAST") == "1"  # the tests' switch: the same steps, but too few of them to find anything
CYCLES, BATCH, STEPS = (2, 8, 8) if FAST else (25, 128, 100)
BLUE, RED, GREY = "#0072B2", "#D55E00", "#808080"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})

# %% [markdown]
# ## 1. Optimizers as programs
#
# A program sees the weights `w`, the gradient `g`, its own extra variables (they begin as zeros), and the schedule's
# value `lr` in [0, 1]. It returns the update, which is subtracted from the weights, and the new extra variables. This
# is where the search begins, and what the paper's search came back with:

# %%
adamw, raw = search.parse(published.ADAMW), search.parse(published.LION_RAW)
print(adamw)
print(raw)

# %% [markdown]
# Most of that is *dead*: what no update ever depends on can go. Algebra does the rest, for m / sqrt(m m) is the sign
# of m, and two interpolations make one:

# %%
print(search.prune_loop(raw))
print(search.simplify(raw))

# %% [markdown]
# ## 2. Trying many programs
#
# A candidate is worth what the network scores that it trains. Compiling a training loop for every candidate would
# take a second each. Instead *one* computation is compiled that interprets programs: they are data. It trains 64
# learners at a time, each by a program of its own, all from the same newborn on the same minibatches.

# %%
digits = tasks.digits()
task = tasks.DatasetTask(digits, tasks.Perceptron((16,), 10), tasks.cross_entropy)
held_out = (jnp.asarray(digits.held_out.inputs), jnp.asarray(digits.held_out.targets))
proxy = Proxy(
    init=lambda key: task.init(key, ()),
    batch=lambda key: task.batch(key, (), held_out=False),
    loss=lambda params, batch: task.loss((), params, batch)[0],
    score=lambda params: -task.loss((), params, held_out)[0],
    steps=STEPS,
)
evaluator = Evaluator(proxy, rungs=(Rung(STEPS // 4, keep=0.5),), lanes=8 if FAST else 64)
start = time.perf_counter()
print(f"AdamW's fitness: {evaluator([adamw]).fitness[0]:.3f}, after {time.perf_counter() - start:.0f} s of compilation")
rng, mutate = np.random.default_rng(0), search.Mutation()
children = [mutate(rng, adamw) for _ in range(BATCH)]
start = time.perf_counter()
fitness = evaluator(children).fitness
print(f"{BATCH / (time.perf_counter() - start):.0f} programs a second")

# %% [markdown]
# Most mutations change nothing, and most of the others do harm. A few of a single change are better already (AdamW's
# rate of 0.001 is a little low for so short a life):

# %%
figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.hist(np.maximum(fitness, -3), 40, color=GREY)
ax.axvline(evaluator([adamw]).fitness[0], color=RED, label="AdamW")
ax.set(xlabel="fitness of AdamW's children (minus the held-out loss; cut at -3)", ylabel="programs")
ax.spines[["top", "right"]].set_visible(False)
ax.legend()
plt.show()

# %% [markdown]
# ## 3. Evolution
#
# *Ageing* evolution: of two random individuals the fitter has a child, with one mutation, and the oldest individual
# dies, however good it is. What is known is not tried again: programs have a name by what is written, the same for
# whatever names and order they are written in, and another by what they *do* in a few steps. Beside it, the same search
# may change AdamW's constants only.


# %%
def evolve(mutate, seed=0):
    """A search, and its best fitness after every cycle."""
    rng, memory = np.random.default_rng(seed), Memory(search.canonical_hash, search.fingerprint)
    evolution = Search(Tournament(mutate), adamw, memory, rng, size=8 if FAST else 200, batch=BATCH)
    told = [evolution.cycle(lambda programs: evaluator(programs).fitness) for _ in range(CYCLES)]
    return evolution, told


free, told = evolve(search.Mutation(longest=40))
tuned, told_tuned = evolve(search.tune)
last = told[-1]
print(f"{last['proposed']:.0f} programs proposed, {last['tried']:.0f} tried; {100 * last['redundant']:.0f} % of")
print(f"the statements of the last children have no effect, and {100 * last['known_now']:.0f} % of them were known")

figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
for rows, name, color in ((told, "evolution", BLUE), (told_tuned, "AdamW's constants only", RED)):
    ax.step([row["tried"] for row in rows], [row["best"] for row in rows], color=color, label=name)
ax.set(xlabel="programs tried", ylabel="best fitness")
ax.spines[["top", "right"]].set_visible(False)
ax.legend()
plt.show()

# %% [markdown]
# What it found, without what has no effect, then shortened by algebra:

# %%
print(search.prune_loop(free.best.program))
print(search.simplify(free.best.program))

# %% [markdown]
# ## 4. Into optax
#
# A program is an optax transformation like any other. Does it hold where it was not found, on tumours instead of digits
# and with other seeds? Everybody gets a factor on the update or a rate that suits the new task, out of as many.

# %%
cancer = tasks.breast_cancer()
other = tasks.DatasetTask(cancer, tasks.Perceptron((16,), 2), tasks.cross_entropy)
unseen = (jnp.asarray(cancer.held_out.inputs), jnp.asarray(cancer.held_out.targets))
wave = optax.cosine_decay_schedule(1.0, STEPS)


def final_loss(make, key, size):
    """The held-out loss of a learner that `make(size)` has trained."""
    tx = make(size)
    key_birth, key_life = jax.random.split(key)

    def step(carry, key):
        params, state = carry
        grads = jax.grad(lambda p: other.loss((), p, other.batch(key, (), held_out=False))[0])(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = other.init(key_birth, ())
    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key_life, STEPS))
    return other.loss((), params, unseen)[0]


contenders = {
    "AdamW": (lambda rate: optax.adamw(lambda i: rate * wave(i)), np.geomspace(1e-3, 0.1, 8)),
    "found": (
        lambda size: optax.chain(search.from_program(free.best.program, wave), optax.scale(size)),
        np.geomspace(0.1, 10, 8),
    ),
}
for name, (make, sizes) in contenders.items():
    judge = jax.jit(jax.vmap(lambda key, size, make=make: final_loss(make, key, size), (0, None)))
    keys, others = jax.random.split(jax.random.key(0), (2, 8))
    best = min(sizes, key=lambda size, judge=judge, keys=keys: float(np.nan_to_num(judge(keys, size), nan=9.0).mean()))
    losses = judge(others, best)
    print(f"{name}: held-out loss {losses.mean():.3f} +- {losses.std() / 8**0.5:.3f}")

# %% [markdown]
# A proxy that is this small is easily fooled: what wins on it in a hundred updates need not win elsewhere. That is why
# the paper, and `python -m experiments.lion_search`, send what is found through a funnel of larger tasks, and why the
# report shows what becomes of it there, whichever way that goes.
