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
# # Optimizers to drop in
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/lopt/blob/main/notebooks/drop_in_optimizers.ipynb)
#
# Everything here is an optax transformation: it goes where `optax.adam` goes. We take a training loop as anybody would
# write it, put in Lion ([arXiv 2302.06675](https://arxiv.org/abs/2302.06675)), a member of the Lion-$\mathcal K$ family
# ([arXiv 2310.05898](https://arxiv.org/abs/2310.05898)), and at last an optimizer that we have meta-trained ourselves.
# Two or three minutes on a CPU.

# %%
import sys

if "google.colab" in sys.modules:
    # !pip install -q "lopt @ git+https://github.com/OWNER/lopt"
    pass

# %%
import os
import tempfile
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import lopt
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.export import card_of, save_rule
from lopt.meta import PES, MetaLearner
from lopt.optimizers import L1, L2, AdafactorRule, PerLeaf
from lopt.tasks import DatasetTask, Late, Perceptron, SupervisedLifetime, Variations, cross_entropy, digits

FAST = os.environ.get("LOPT_FAST") == "1"  # the tests' switch: the same steps, but too few of them to learn
SEEDS, STEPS, LONG = (2, 3, 4) if FAST else (8, 100, 1500)
META_STEPS, CHUNK = (2, 1) if FAST else (400, 20)
BLUE, RED, GREEN, GREY, VIOLET = "#0072B2", "#D55E00", "#009E73", "#808080", "#CC79A7"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})


def plots(number, width=4.2):
    """A row of empty plots."""
    figure, axes = plt.subplots(1, number, figsize=(width * number, 2.9), layout="constrained")
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


# %% [markdown]
# ## 1. A training loop
#
# Handwritten digits of 8 x 8 pixels, a network in Flax, minibatches of 64. The optimizer is an argument.

# %%
data = digits()
images, labels = jnp.asarray(data.train.inputs), jnp.asarray(data.train.targets)
test_images, test_labels = jnp.asarray(data.held_out.inputs), jnp.asarray(data.held_out.targets)


class Net(nn.Module):
    """A perceptron with one hidden layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1))))


net = Net()


def loss(params, x, y):
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, x), y).mean()


def train(tx, key, steps, watch=None):
    """Held-out loss after every step, or what `watch(params)` says."""
    key_init, key_batches = jax.random.split(key)
    params = net.init(key_init, images[:1])
    state = tx.init(params)

    def step(carry, key):
        params, state = carry
        index = jax.random.randint(key, (64,), 0, len(images))
        grads = jax.grad(loss)(params, images[index], labels[index])
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), watch(params) if watch else loss(params, test_images, test_labels)

    (params, _), told = jax.lax.scan(step, (params, state), jax.random.split(key_batches, steps))
    return params, told


def seeds(tx):
    """Held-out losses `[seeds, steps]`."""
    return np.asarray(
        jax.jit(jax.vmap(lambda key: train(tx, key, STEPS)[1]))(jax.random.split(jax.random.key(0), SEEDS))
    )


# %% [markdown]
# ## 2. Lion
#
# Lion keeps one buffer and steps by a sign, so every weight moves as far as every other: its learning rate is 3 to 10
# times smaller than Adam's, and its weight decay as much larger. Both get their best of a few learning rates here.


# %%
def tuned(make, rates):
    """The losses under the learning rate that ends lowest, on seeds it was chosen on."""
    found = {rate: seeds(make(rate)) for rate in (rates[:1] if FAST else rates)}
    best = min(found, key=lambda rate: found[rate][:, -1].mean())
    return found[best], best


contenders = {}
contenders["AdamW"] = (*tuned(partial(optax.adamw, weight_decay=0.01), (0.01, 0.03, 0.1)), GREY)
contenders["Lion"] = (*tuned(partial(lopt.lion, weight_decay=0.01), (0.003, 0.01, 0.03)), BLUE)


def show(contenders):
    """Losses over a life."""
    _, ax = plots(1, 5.5)
    for name, (losses, rate, color) in contenders.items():
        ax.fill_between(range(1, STEPS + 1), *np.percentile(losses, [25, 75], axis=0), color=color, alpha=0.2, lw=0)
        how = "not tuned" if rate is None else f"learning rate {rate}"
        ax.plot(range(1, STEPS + 1), losses.mean(0), color=color, label=f"{name} ({how}): {losses[:, -1].mean():.3f}")
    ax.set(xlabel="step", ylabel="held-out loss", yscale="log", title=f"digits, mean of {SEEDS} seeds")
    ax.legend()
    plt.show()


show(contenders)

# %% [markdown]
# ## 3. Lion-$\mathcal K$: decay is a constraint
#
# Exchange the sign for the gradient of another convex function $\mathcal K$, and weight decay $\lambda$ keeps the
# weights in another set: $\|x\|_* \le 1/\lambda$, with $\|\cdot\|_*$ the dual of the norm $\mathcal K$. Lion itself
# ($\mathcal K = \ell_1$) keeps every weight within $\pm 1/\lambda$. $\ell_2$ on each matrix keeps every matrix within a
# ball. Weights that start outside are brought in exponentially fast, whatever the loss is, and stay.

# %%
FAMILY = {"l1 (Lion)": (L1(), 0.003, 2.0), "l2 of every array": (PerLeaf(L2()), 0.1, 0.15)}  # kernel, rate, decay


def sizes(params, decay):
    """The largest weight, and the largest norm of an array, in units of 1 / decay."""
    leaves = jax.tree.leaves(params)
    entry = jnp.stack([jnp.abs(x).max() for x in leaves]).max()
    norm = jnp.stack([jnp.sqrt((x**2).sum()) for x in leaves]).max()
    return decay * jnp.stack([entry, norm])


figure, axes = plots(3, 3.6)
for row, (name, (kernel, rate, decay)) in enumerate(FAMILY.items()):
    tx = lopt.lion_k(kernel, rate, weight_decay=decay)
    watch = partial(sizes, decay=decay)
    params, told = jax.jit(lambda tx=tx, watch=watch: train(tx, jax.random.key(1), LONG, watch))()
    for ax, values, what in zip(
        axes, np.asarray(told).T, ("largest |weight|", "largest norm of an array"), strict=False
    ):
        ax.plot(np.arange(1, LONG + 1), values, color=(BLUE, RED)[row], label=name)
        ax.axhline(1, color="k", lw=0.5, ls="--")
        ax.set(title=f"{what} x decay", xlabel="step", yscale="log")
    weights = np.asarray(params["params"]["Dense_0"]["kernel"]).ravel() * decay
    axes[2].hist(weights, 60, color=(BLUE, RED)[row], alpha=0.5, label=name, density=True)
    accuracy = (net.apply(params, test_images).argmax(-1) == test_labels).mean()
    print(f"{name}: held-out accuracy {accuracy:.3f}")
axes[2].set(title="first layer's weights x decay", yscale="log")
axes[0].legend()
plt.show()

# %% [markdown]
# Under $\ell_1$ no weight leaves the box and many sit at its walls; under $\ell_2$ no array leaves its ball and single
# weights are free. `lopt.kkt_gap` measures how far from the solution of that constrained problem a network is.
#
# ## 4. One of our own
#
# A small network can be the optimizer: for every weight it looks at gradients, momenta and second moments, factored as
# Adafactor's, and says what to do. To meta-train it, pairs of students learn digits side by side, under
# $\theta + \sigma\epsilon$ and $\theta - \sigma\epsilon$, twenty steps at a time; *persistent evolution strategies*
# ([arXiv 2112.13835](https://arxiv.org/abs/2112.13835)) make an unbiased gradient of that, although no window sees a
# whole life.

# %%
rule = AdafactorRule(step_size=0.01, exponent=0.1)
task = DatasetTask(data, Perceptron((16,), 10), cross_entropy)
life = SupervisedLifetime(task, rule, weight=Late(2.0), bound=4.0)
meta = MetaLearner(
    PES(life, num_updates=20, std=0.03),
    DomainRandomisation(Variations(task, STEPS)),
    Uniform(),
    optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, META_STEPS))),
    num_lifetimes=2 if FAST else 16,
)
key_rule, key_meta, key_steps = jax.random.split(jax.random.key(2), 3)


@partial(jax.jit, donate_argnums=1)
def meta_steps(first, state):
    """CHUNK meta-steps."""

    def body(state, i):
        state, told = meta.step(jax.random.fold_in(key_steps, i), state)
        return state, told["learner_loss"]

    return jax.lax.scan(body, state, first + jnp.arange(CHUNK))


state, curve = jax.jit(meta.init)(key_meta, rule.init(key_rule)), []
for first in range(0, META_STEPS, CHUNK):
    state, losses = meta_steps(first, state)
    curve.append(float(losses.mean()))
print("loss of the students, of all ages, as meta-training goes on:", np.round(curve, 2))

# %% [markdown]
# What was learned goes into a file, and `lopt.load` makes an optax transformation of the file. That is all another
# program has to know of it. (`python -m experiments.learned_optimizer` goes on for longer, tunes the rivals on every
# task, and also measures where such an optimizer fails: away from what it was trained on.)

# %%
folder = Path(tempfile.mkdtemp())
save_rule(folder / "mine", state.theta, card_of(rule, notes="digits, lives of 100 steps"))
contenders["meta-trained"] = (seeds(lopt.load(folder / "mine")), None, RED)
show(contenders)

# %% [markdown]
# It is at home here: the students it was trained with had the same data and the same network (not the same weights,
# batches or held-out images). To take it further, train it on several tasks, longer lives and rescaled ones:
# `--training.rescale`, `--training.lifetime`, `--preset small`.
