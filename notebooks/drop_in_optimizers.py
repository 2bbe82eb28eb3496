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
# # Drop-in optimizers
#
# All optimizers of lopt are optax transformations and replace `optax.adam` without further changes. This notebook uses
# a standard training loop with Lion ([arXiv 2302.06675](https://arxiv.org/abs/2302.06675)), with members of the
# Lion-$\mathcal K$ family ([arXiv 2310.05898](https://arxiv.org/abs/2310.05898)), and with a learned optimizer that it
# meta-trains. It takes two or three minutes on a CPU.

# %%
import sys

LOPT = "lopt"  # what pip installs in Colab: a wheel, a folder, or git+https:// and the address of a clone
if "google.colab" in sys.modules:
    # !pip install -q {LOPT}
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
from lopt.meta import PES, MetaLearner
from lopt.optimizers import L1, L2, AdafactorRule, PerLeaf
from lopt.rules import card_of, save_rule
from lopt.tasks import DatasetTask, Perceptron, PowerLossWeight, SupervisedLifetime, Variations, cross_entropy, digits

FAST = os.environ.get("LOPT_FAST") == "1"  # set by the tests: the same code with too few steps to learn
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
# The data are handwritten digits of 8 x 8 pixels, the network is written in Flax, and minibatches have 64 examples. The
# optimizer is an argument.

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


def train(tx, key, steps, metric=None):
    """The trained parameters, and `metric(params)` after each step, by default the held-out loss."""
    key_init, key_batches = jax.random.split(key)
    params = net.init(key_init, images[:1])
    state = tx.init(params)

    def step(carry, key):
        params, state = carry
        index = jax.random.randint(key, (64,), 0, len(images))
        grads = jax.grad(loss)(params, images[index], labels[index])
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), metric(params) if metric else loss(params, test_images, test_labels)

    (params, _), curve = jax.lax.scan(step, (params, state), jax.random.split(key_batches, steps))
    return params, curve


def learning_curves(tx):
    """Held-out losses `[SEEDS, STEPS]`."""
    return np.asarray(
        jax.jit(jax.vmap(lambda key: train(tx, key, STEPS)[1]))(jax.random.split(jax.random.key(0), SEEDS))
    )


# %% [markdown]
# ## 2. Lion
#
# Lion keeps one momentum buffer, and its update is a sign, so all weights change by the same amount. Its learning rate
# is therefore 3 to 10 times smaller than Adam's, and its weight decay larger by the same factor. Both optimizers are
# tuned over three learning rates.


# %%
def tuned(make, rates):
    """The losses with the learning rate of the lowest mean final loss, on the seeds of the tuning."""
    losses = {rate: learning_curves(make(rate)) for rate in (rates[:1] if FAST else rates)}
    best = min(losses, key=lambda rate: losses[rate][:, -1].mean())
    return losses[best], best


optimizers = {}
optimizers["AdamW"] = (*tuned(partial(optax.adamw, weight_decay=0.01), (0.01, 0.03, 0.1)), GREY)
optimizers["Lion"] = (*tuned(partial(lopt.lion, weight_decay=0.01), (0.003, 0.01, 0.03)), BLUE)


def show(optimizers):
    """Plot the learning curves: means and quartiles over the seeds."""
    _, ax = plots(1, 5.5)
    for name, (losses, rate, color) in optimizers.items():
        ax.fill_between(range(1, STEPS + 1), *np.percentile(losses, [25, 75], axis=0), color=color, alpha=0.2, lw=0)
        tuning = "not tuned" if rate is None else f"learning rate {rate}"
        label = f"{name} ({tuning}): {losses[:, -1].mean():.3f}"
        ax.plot(range(1, STEPS + 1), losses.mean(0), color=color, label=label)
    ax.set(xlabel="step", ylabel="held-out loss", yscale="log", title=f"digits, mean of {SEEDS} seeds")
    ax.legend()
    plt.show()


show(optimizers)

# %% [markdown]
# ## 3. Lion-$\mathcal K$: weight decay as a constraint
#
# Lion-$\mathcal K$ replaces the sign by the gradient of a convex function $\mathcal K$. If $\mathcal K$ is a norm, a
# weight decay $\lambda$ constrains the weights to $\|x\|_* \le 1/\lambda$ in the dual norm $\|\cdot\|_*$. For Lion
# itself ($\mathcal K = \ell_1$) each weight is constrained to $\pm 1/\lambda$. For $\ell_2$ of each array, each array
# is constrained to a ball. Weights outside the set converge to it exponentially fast, for any loss, and then stay in
# it.

# %%
KERNELS = {"l1 (Lion)": (L1(), 0.003, 2.0), "l2 of each array": (PerLeaf(L2()), 0.1, 0.15)}  # kernel, rate, decay


def largest(params, decay):
    """The largest absolute weight and the largest norm of an array, in units of 1 / decay."""
    leaves = jax.tree.leaves(params)
    entry = jnp.stack([jnp.abs(x).max() for x in leaves]).max()
    norm = jnp.stack([jnp.sqrt((x**2).sum()) for x in leaves]).max()
    return decay * jnp.stack([entry, norm])


figure, axes = plots(3, 3.6)
for row, (name, (kernel, rate, decay)) in enumerate(KERNELS.items()):
    tx = lopt.lion_k(kernel, rate, weight_decay=decay)
    metric = partial(largest, decay=decay)
    params, curves = jax.jit(lambda tx=tx, metric=metric: train(tx, jax.random.key(1), LONG, metric))()
    for ax, values, title in zip(
        axes, np.asarray(curves).T, ("largest |weight|", "largest norm of an array"), strict=False
    ):
        ax.plot(np.arange(1, LONG + 1), values, color=(BLUE, RED)[row], label=name)
        ax.axhline(1, color="k", lw=0.5, ls="--")
        ax.set(title=f"{title} x decay", xlabel="step", yscale="log")
    weights = np.asarray(params["params"]["Dense_0"]["kernel"]).ravel() * decay
    axes[2].hist(weights, 60, color=(BLUE, RED)[row], alpha=0.5, label=name, density=True)
    accuracy = (net.apply(params, test_images).argmax(-1) == test_labels).mean()
    print(f"{name}: held-out accuracy {accuracy:.3f}")
axes[2].set(title="first layer's weights x decay", yscale="log")
axes[0].legend()
plt.show()

# %% [markdown]
# With $\ell_1$ all weights stay within the box, and many are at its boundary. With $\ell_2$ all arrays stay within
# their balls, and single weights are not bounded. `lopt.kkt_gap` measures the distance to the solution of the
# constrained problem.
#
# ## 4. A learned optimizer
#
# The optimizer is a small network. Its inputs for each weight are the gradient, momenta and second moments, factored as
# in Adafactor, and its output is the update. For meta-training, antithetic pairs of learners are trained on digits
# with $\theta + \sigma\epsilon$ and $\theta - \sigma\epsilon$, twenty inner updates per meta-step. *Persistent
# evolution strategies* ([arXiv 2112.13835](https://arxiv.org/abs/2112.13835)) estimate the gradient over full
# lifetimes from these truncated windows without bias.

# %%
rule = AdafactorRule(step_size=0.01, exponent=0.1)
task = DatasetTask(data=data, net=Perceptron((16,), 10), criterion=cross_entropy)
lifetime = SupervisedLifetime(task=task, optimizer=rule, weight=PowerLossWeight(2.0), bound=4.0)
meta = MetaLearner(
    estimator=PES(lifetime=lifetime, num_updates=20, std=0.03),
    curriculum=DomainRandomisation(Variations(task=task, num_updates=STEPS)),
    score=Uniform(),
    optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, META_STEPS))),
    num_lifetimes=2 if FAST else 16,
)
key_rule, key_meta, key_steps = jax.random.split(jax.random.key(2), 3)


@partial(jax.jit, donate_argnums=1)
def meta_steps(first, state):
    """CHUNK meta-steps."""

    def body(state, i):
        state, metrics = meta.step(jax.random.fold_in(key_steps, i), state)
        return state, metrics["learner_loss"]

    return jax.lax.scan(body, state, first + jnp.arange(CHUNK))


state, curve = jax.jit(meta.init)(key_meta, rule.init(key_rule)), []
for first in range(0, META_STEPS, CHUNK):
    state, losses = meta_steps(first, state)
    curve.append(float(losses.mean()))
print("learners' mean training loss during meta-training, over all stages of their lifetimes:", np.round(curve, 2))

# %% [markdown]
# `save_rule` writes the learned optimizer to a rule file, and `lopt.load` makes an optax transformation of the file.
# `python -m experiments.learned_optimizer` meta-trains for longer, tunes the baselines on each task, and also measures
# the optimizer on tasks other than that of meta-training, where it is worse.

# %%
folder = Path(tempfile.mkdtemp())
save_rule(folder / "rule", state.theta, card_of(rule, notes="digits, lifetimes of 100 updates"))
optimizers["learned"] = (learning_curves(lopt.load(folder / "rule")), None, RED)
show(optimizers)

# %% [markdown]
# This task is that of meta-training: the data set and the architecture are the same (the initial weights, minibatches
# and held-out images are not). For other tasks, meta-train with longer lifetimes and rescaled parameters:
# `--training.num_updates`, `--training.rescale`, `--preset small`.
