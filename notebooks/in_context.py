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
# # Learning without changing a weight
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/lopt/blob/main/notebooks/in_context.ipynb)
#
# A sequence model that has seen enough tasks can learn a new one while it reads: its weights stay as they are, and its
# predictions get better from example to example. First we meta-train a small Transformer on few tasks and on ever new
# ones, and look at who learns (*general-purpose in-context learning*,
# [arXiv 2212.04458](https://arxiv.org/abs/2212.04458)). Then we look inside a model so small that theory says what its
# weights must become: an optimizer, a *mesa-optimizer*, that takes one step of gradient descent
# ([arXiv 2405.16845](https://arxiv.org/abs/2405.16845)); and a layer that goes all the way
# ([arXiv 2309.05858](https://arxiv.org/abs/2309.05858)). Some minutes on a CPU.

# %%
import sys

if "google.colab" in sys.modules:
    # !pip install -q "lopt @ git+https://github.com/OWNER/lopt"
    pass

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from lopt import tasks
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.incontext import AutoregressiveAttention, MesaLayer, OneStepAttention, Transformer
from lopt.meta import MetaGradient, MetaLearner
from lopt.tasks import (
    ConstantStart,
    GaussianStart,
    InContextLifetime,
    LinearSystem,
    ProjectedClassification,
    Rotations,
    SequenceLevels,
    SparseStart,
    population_loss,
)

FAST = os.environ.get("LOPT_FAST") == "1"  # the tests' switch: the same steps, but too few of them to learn
STEPS, SEQUENCES = (2, 16) if FAST else (3000, 1024)  # meta-steps, and sequences that measure a model
FEW = 8  # tasks of the model that gets few
BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#808080"
plt.rcParams.update({"font.size": 9, "legend.frameon": False, "figure.dpi": 110})


def plots(number, width=4.2):
    """A row of empty plots."""
    figure, axes = plt.subplots(1, number, figsize=(width * number, 2.9), layout="constrained")
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


# %% [markdown]
# ## 1. Few tasks, many tasks
#
# The 8 x 8 digits of scikit-learn become any number of tasks: each multiplies the images by a random matrix of its own
# and gives the ten labels a new order. A sequence is 32 examples of one task. At every position the model sees the
# image, all images and labels before it, and must name the label.
#
# An in-context learner is a `Lifetime` like any other in `lopt`, one whose whole life is a forward pass; so the outer
# loop is the same `MetaLearner` that trains optimizers and objectives.


# %%
def classification(num_tasks):
    """Sequences of digits in `num_tasks` disguises (None: a new one every time)."""
    return ProjectedClassification(tasks.digits(), length=32, features=32, num_tasks=num_tasks, fewest=2)


model = Transformer(inputs=32, targets=10, outputs=10, positions=32, width=64, layers=2)


def meta_train(task, key, batch=64):
    """A Transformer after `STEPS` meta-steps, and its losses."""
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, min(200, STEPS - 1), STEPS, 3e-4)
    learner = MetaLearner(
        MetaGradient(InContextLifetime(task, model), 1, remat=False),
        DomainRandomisation(SequenceLevels(task)),
        Uniform(),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, eps=1e-12)),
        num_lifetimes=batch,
        stagger=False,
        pack=batch,
    )
    key_model, key_init, key_steps = jax.random.split(key, 3)
    state = jax.jit(learner.init)(key_init, model.init(key_model))
    chunk = jax.jit(lambda state, keys: jax.lax.scan(lambda s, k: learner.step(k, s), state, keys))
    losses = []
    for keys in np.array_split(np.arange(STEPS), max(1, STEPS // 100)):
        state, metrics = chunk(state, jax.vmap(lambda i: jax.random.fold_in(key_steps, i))(jnp.array(keys)))
        losses.append(float(metrics["meta_loss"].mean()))
    return state.theta, losses


def accuracy(theta, task):
    """At every position, on images that no training has seen."""

    @jax.jit
    @jax.vmap
    def one(key):
        key_task, key_context = jax.random.split(key)
        projection = task.sample(key_task)
        context = task.context(key_context, projection, held_out=True)
        return task.losses(projection, model.apply(theta, context.xs, context.ys_prev), context.targets)[1]["accuracy"]

    return np.asarray(one(jax.random.split(jax.random.key(7), SEQUENCES))).mean(0)


numbers = {f"{FEW} tasks": FEW, "new tasks": None}
trained = {name: meta_train(classification(number), jax.random.key(0)) for name, number in numbers.items()}

# %%
figure, (left, right) = plots(2)
for color, (name, (_, losses)) in zip((RED, BLUE), trained.items(), strict=True):
    left.plot(np.linspace(0, STEPS, len(losses)), losses, color=color, label=name)
left.axhline(np.log(10), color=GREY, linewidth=1)
left.set(title="loss in meta-training", xlabel="meta-step")
left.legend(loc=(0.55, 0.62))

everything = classification(None), classification(FEW)
everything = [ProjectedClassification(t.data, 32, 32, num_tasks=t.num_tasks) for t in everything]  # all ten classes
curves = {
    f"{FEW} tasks, asked those": (RED, "--", accuracy(trained[f"{FEW} tasks"][0], everything[1])),
    f"{FEW} tasks, asked new ones": (RED, "-", accuracy(trained[f"{FEW} tasks"][0], everything[0])),
    "new tasks, asked new ones": (BLUE, "-", accuracy(trained["new tasks"][0], everything[0])),
}
for name, (color, style, curve) in curves.items():
    right.plot(np.arange(1, 33), curve, color=color, linestyle=style, label=name)
right.axhline(0.1, color=GREY, linewidth=1)
right.set(title="accuracy on unseen images", xlabel="position in the sequence", ylim=(0, 1))
right.legend(loc=(0.02, 0.63))
plt.show()

# %% [markdown]
# The model that had few tasks knows them at sight: it is right from the first image on, learns nothing on the way, and
# is lost in any other task. The model that never saw a task twice is lost at the first image of each, and gets better
# with every example. It has learned to learn.

# %% [markdown]
# ## 2. A layer that is a step of gradient descent
#
# What does such a model compute? For one layer of linear attention the answer is known. Sequences turn,
# $x_{t+1} = W x_t$ with $W = \mathrm{diag}(e^{i\theta_1}, \dots)$ new for every sequence, and the layer predicts
# $x_{t+1}$:
# $$y_t = W_{PV} \, E_t E_t^* \, W_{KQ} \, e_t / (t - 1), \qquad e_t = (x_t, x_{t-1}).$$
# If all of $W_{PV}$ is zero but a diagonal $b$, and of $W_{KQ}$ but a diagonal $a$, then $y_t = \hat W x_t$ where
# $\hat W$ is one step of gradient descent from zero on $\frac12\sum_s |x_{s+1} - W x_s|^2$, of size $ab / (t-1)$. The
# theorem: gradient flow gets there, $a^2 - b^2$ stays as it was, and $ab$ tends to a number $c^*$ that only the moments
# of $x_1$ and the length decide.
#
# `population_loss` is the exact expected loss for *any* weights, so that we can follow the flow without sampling noise.

# %%
starts = {"Gaussian": GaussianStart(), "sparse": SparseStart(), "all ones": ConstantStart()}
D, LENGTH, UPDATES = (2, 6, 20) if FAST else (4, 30, 400)
layer, births = AutoregressiveAttention(D), ((0.1, 0.1), (0.5, 1.5), (1.2, 1.2))


def sizes(theta):
    """a and b."""
    return jnp.diag(theta["kq"][D:, :D]).mean(), jnp.diag(theta["pv"][:, :D]).mean()


def descend(task):
    """Gradient descent by small steps on the exact loss: the last weights, and the way of a and b."""
    loss = population_loss(task)
    gradient = jax.grad(lambda theta: loss(theta["pv"], theta["kq"]))
    unit = task.curvature(1.0, 0.0)

    def step(theta, _):
        a, b = sizes(theta)
        rate = 0.1 / (unit * jnp.maximum(a**2 + b**2, 2 * task.limit_product()))
        theta = jax.tree.map(lambda w, g: w - rate * g, theta, gradient(theta))
        return theta, jnp.stack(sizes(theta))

    run = jax.jit(lambda theta: jax.lax.scan(step, theta, length=UPDATES))
    return [run(layer.structured(a, b)) for a, b in births]


rotations = {name: Rotations(D, LENGTH, start) for name, start in starts.items()}
found = {name: descend(task) for name, task in rotations.items()}

# %%
figure, axes = plots(3, 3.4)
grid = np.geomspace(0.05, 3, 200)
for ax, (name, runs) in zip(axes, found.items(), strict=True):
    ax.plot(grid, rotations[name].limit_product() / grid, color="black", linewidth=1, label="ab = c*")
    for color, (a, b), (_, path) in zip((BLUE, RED, GREEN), births, runs, strict=True):
        square = grid**2 - (a * a - b * b)
        ax.plot(grid, np.sqrt(np.where(square > 0, square, np.nan)), color="#c0c0c0", linewidth=0.8, zorder=1)
        ax.plot(*np.vstack([[a, b], path]).T, color=color, linewidth=2.2)
        ax.plot([a], [b], "o", color=color)
    ax.set(title=name, xlabel="a", ylabel="b", xlim=(0, 1.7), ylim=(0, 1.9))
axes[0].legend()
plt.show()

for name, runs in found.items():
    a, b = sizes(runs[0][0])
    print(f"{name:9s} ab = {float(a * b):.4f}, the theorem's c* = {rotations[name].limit_product():.4f}")

# %% [markdown]
# Gaussian and sparse starts end on the theorem's curve, each at its own $a^2 - b^2$ (grey). All ones end beside it: the
# theorem's condition on the moments does not hold there, and entries beside the diagonals of the two blocks leave zero.

# %%
figure, axes = plots(3, 3.0)
for ax, (name, runs) in zip(axes, found.items(), strict=True):
    weights = np.asarray(runs[0][0]["kq"])
    ax.imshow(weights / np.abs(weights).max(), cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set(title=f"W_KQ, {name}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 3. Does it find W?
#
# One step of descent is not least squares. Its error over $|x|^2$ is known at every position: with sparse starts it is
# zero from the second example on, with all ones it fades with the length, and with Gaussian starts it stays, however
# long the sequence: the prediction tends to a fifth of the truth.
#
# A *mesa-layer* solves the least-squares problem at every position instead, by a rank-one update of an inverse matrix.
# Its weights are learned like any others; here we set those of the construction, for linear attention and for the
# mesa-layer, and let both continue sequences of an unknown rotation of space.

# %%
system = LinearSystem(D, 24)
mesa, step = MesaLayer(D, D, D), OneStepAttention(D, D, D)


@jax.jit
@jax.vmap
def errors(key):
    """Of both layers, at every position."""
    key_system, key_context = jax.random.split(key)
    rotation = system.sample(key_system)
    context = system.context(key_context, rotation, held_out=True)
    both = (
        mesa.apply(mesa.least_squares(1e3), context.xs, context.ys_prev),
        step.apply(step.descent(1.5), context.xs, context.ys_prev),
    )
    return [system.losses(rotation, outputs, context.targets)[0] for outputs in both]


solved, stepped = (np.asarray(x).mean(0) for x in errors(jax.random.split(jax.random.key(1), SEQUENCES)))

figure, (left, right) = plots(2)
for color, (name, task) in zip((BLUE, RED, GREEN), rotations.items(), strict=True):
    left.plot(np.arange(2, LENGTH), task.relative_error(task.limit_product()), color=color, label=name)
left.set(title="one step: error / square of x (theory)", xlabel="position", ylim=(0, 1.5))
left.legend()
right.plot(np.arange(1, 25), stepped, color=BLUE, label="one step of descent")
right.plot(np.arange(1, 25), solved, color=RED, label="mesa-layer")
right.set(title="continuing a linear system", xlabel="position", ylabel="loss", yscale="log")
right.legend()
plt.show()

# %% [markdown]
# After d examples the mesa-layer knows the system up to its noise. `python -m experiments.mesa` trains such layers from
# random weights and puts theory and measurement side by side in a table; `python -m experiments.gpicl` sweeps the
# number of tasks between few and many; `python -m experiments.icl_uncertainty` asks Transformers how sure they are,
# beside the exact posterior.
