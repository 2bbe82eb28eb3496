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
# Lion was discovered by a symbolic search: regularised evolution of programs that started from AdamW
# ([arXiv 2302.06675](https://arxiv.org/abs/2302.06675)). This notebook shows such programs, evaluates many of them per
# second, and runs a small search. It takes a few minutes on a CPU. `python -m experiments.lion_search` adds baselines,
# funnel selection and a report.

# %%
import sys

LOPT = "lopt"  # what pip installs in Colab: a wheel, a folder, or git+https:// and the address of a clone
if "google.colab" in sys.modules:
    # !pip install -q {LOPT}
    pass

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
from lopt.search.evolution import FitnessCache, Search, Tournament
from lopt.search.population import Evaluator, Proxy, Rung

FAST = os.environ.get("LOPT_FAST") == "1"  # set by the tests: the same code with too few steps to find anything
SEARCH_STEPS, BATCH, STEPS = (2, 8, 8) if FAST else (25, 128, 100)
BLUE, RED, GREY = "#0072B2", "#D55E00", "#808080"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})

# %% [markdown]
# ## 1. Optimizers as programs
#
# The inputs of a program are the weights `w`, the gradient `g`, its extra variables (which start at zero), and the
# value `lr` of a learning-rate schedule in [0, 1]. It returns the update, which is subtracted from the weights, and the
# new extra variables. These are the initial program of the search, AdamW, and the program that the paper's search
# found:

# %%
adamw, raw = search.parse(published.ADAMW), search.parse(published.LION_RAW)
print(adamw)
print(raw)

# %% [markdown]
# Most statements of the second program are *dead*: no update depends on them, so they are pruned. Algebra simplifies
# the rest: m / sqrt(m m) is the sign of m, and two interpolations of the same values are one:

# %%
print(search.prune_loop(raw))
print(search.simplify(raw))

# %% [markdown]
# ## 2. Evaluation of many programs
#
# The fitness of a candidate is the score of a network that it trains. Compilation of a training loop takes a second or
# more per candidate. Instead, one interpreter is compiled, and programs are its input data. It trains 64 learners at a
# time, each by its own program, all from the same initial weights and on the same minibatches.

# %%
digits = tasks.digits()
task = tasks.DatasetTask(data=digits, net=tasks.Perceptron((16,), 10), criterion=tasks.cross_entropy)
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
print(f"{BATCH / (time.perf_counter() - start):.0f} programs per second")

# %% [markdown]
# Most mutations do not change the fitness, and most of the others lower it. A few programs with one mutation have a
# higher fitness than AdamW, whose learning rate of 0.001 is low for so short a lifetime:

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
# *Regularised evolution*: the fitter of two random individuals is mutated, and the child replaces the oldest
# individual. Fitness is cached by two hashes: a structural hash, which does not depend on names and on the order of
# statements, and a behavioural hash of the updates in a few steps. The baseline is the same search with mutations of
# AdamW's constants only.


# %%
def evolve(mutate, seed=0):
    """A search after SEARCH_STEPS steps, and the metrics of each step."""
    cache = FitnessCache(search.canonical_hash, search.fingerprint)
    evolution = Search(Tournament(mutate), adamw, cache, size=8 if FAST else 200, batch=BATCH)
    state, history = evolution.init(seed), []
    for _ in range(SEARCH_STEPS):
        state, metrics = evolution.step(state, lambda programs: evaluator(programs).fitness)
        history.append(metrics)
    return state, history


state, metrics = evolve(search.Mutation(longest=40))
_, constant_metrics = evolve(search.mutate_constant)
last = metrics[-1]
print(f"{last['proposed']:.0f} programs proposed, {last['evaluated']:.0f} evaluated. In the last step,")
print(f"{100 * last['redundant']:.0f} % of the statements had no effect, and the fitness of")
print(f"{100 * last['frac_cached']:.0f} % of the programs was cached.")

figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
for rows, name, color in ((metrics, "evolution", BLUE), (constant_metrics, "constant search", RED)):
    ax.step([row["evaluated"] for row in rows], [row["best"] for row in rows], color=color, label=name)
ax.set(xlabel="evaluated programs", ylabel="best fitness")
ax.spines[["top", "right"]].set_visible(False)
ax.legend()
plt.show()

# %% [markdown]
# The best program, pruned and then simplified by algebra:

# %%
print(search.prune_loop(state.best.program))
print(search.simplify(state.best.program))

# %% [markdown]
# ## 4. Use in optax
#
# `from_program` makes an optax transformation of a program. We test it on another task (tumours instead of digits) with
# other seeds. AdamW's learning rate and a factor on the program's update are tuned over equally many values.

# %%
cancer = tasks.breast_cancer()
other = tasks.DatasetTask(data=cancer, net=tasks.Perceptron((16,), 2), criterion=tasks.cross_entropy)
unseen = (jnp.asarray(cancer.held_out.inputs), jnp.asarray(cancer.held_out.targets))
schedule = optax.cosine_decay_schedule(1.0, STEPS)


def final_loss(make, key, scale):
    """The held-out loss of a learner trained by `make(scale)`."""
    tx = make(scale)
    key_init, key_train = jax.random.split(key)

    def step(carry, key):
        params, state = carry
        grads = jax.grad(lambda p: other.loss((), p, other.batch(key, (), held_out=False))[0])(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = other.init(key_init, ())
    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key_train, STEPS))
    return other.loss((), params, unseen)[0]


optimizers = {
    "AdamW": (lambda rate: optax.adamw(lambda i: rate * schedule(i)), np.geomspace(1e-3, 0.1, 8)),
    "best program": (
        lambda scale: optax.chain(search.from_program(state.best.program, schedule), optax.scale(scale)),
        np.geomspace(0.1, 10, 8),
    ),
}
tuning_keys, test_keys = jax.random.split(jax.random.key(0), (2, 8))
for name, (make, scales) in optimizers.items():
    losses_of = jax.jit(jax.vmap(lambda key, scale, make=make: final_loss(make, key, scale), (0, None)))
    tuning_losses = [float(np.nan_to_num(losses_of(tuning_keys, scale), nan=9.0).mean()) for scale in scales]
    losses = losses_of(test_keys, scales[int(np.argmin(tuning_losses))])
    print(f"{name}: held-out loss {losses.mean():.3f} +- {losses.std() / 8**0.5:.3f}")

# %% [markdown]
# A program that is best on so small a proxy after a hundred updates need not be best elsewhere. Therefore the paper and
# `python -m experiments.lion_search` select programs by a funnel of larger tasks, and the report compares the selected
# program with tuned optimizers on several tasks.
