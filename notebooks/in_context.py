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
# # In-context learning and mesa-optimisation
#
# A sequence model that is meta-trained on enough tasks learns new tasks in its forward pass: its weights are constant,
# and its predictions improve with the number of examples in the context. Section 1 meta-trains a small Transformer on
# few tasks and on infinitely many tasks, and compares both on unseen tasks (*general-purpose in-context learning*,
# [arXiv 2212.04458](https://arxiv.org/abs/2212.04458)). Section 2 trains one layer of linear attention, for which the
# weights are known from theory: those of a *mesa-optimizer* that takes one step of gradient descent
# ([arXiv 2405.16845](https://arxiv.org/abs/2405.16845)). Section 3 compares it with the mesa-layer, which solves the
# least-squares problem ([arXiv 2309.05858](https://arxiv.org/abs/2309.05858)). Takes some minutes on a CPU.

# %%
import sys

LOPT = "lopt"  # what pip installs in Colab: a wheel, a folder, or git+https:// and the address of a clone
if "google.colab" in sys.modules:
    # !pip install -q {LOPT}
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
    ConstantInitial,
    DiagonalUnitaryAR,
    GaussianInitial,
    InContextLifetime,
    LinearSystem,
    ProjectedClassification,
    SequenceLevels,
    SparseInitial,
    closed_form_loss,
)

FAST = os.environ.get("LOPT_FAST") == "1"  # set by the tests: too few steps to learn, to save time
STEPS, SEQUENCES = (2, 16) if FAST else (3000, 1024)  # meta-steps, and sequences per evaluation
FEW = 8  # number of tasks of the first model
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
# The 8 x 8 digits of scikit-learn define any number of tasks: a task multiplies the images by a random matrix and
# permutes the ten labels. A sequence has 32 examples of one task. At every position the model predicts the label of the
# current image from all earlier images and labels.
#
# In `lopt` an in-context learner is a `Lifetime` whose inner learning is one forward pass. The outer loop is therefore
# the same `MetaLearner` that meta-trains optimizers and objectives.


# %%
def classification(num_tasks):
    """Random projections and label permutations of digits: `num_tasks` tasks (None: infinitely many)."""
    return ProjectedClassification(data=tasks.digits(), length=32, features=32, num_tasks=num_tasks, min_classes=2)


model = Transformer(inputs=32, targets=10, outputs=10, positions=32, width=64, layers=2)


def meta_train(task, key, batch=64):
    """Meta-train a Transformer for `STEPS` meta-steps; returns its weights and the losses."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, min(200, STEPS - 1), STEPS, 3e-4)
    learner = MetaLearner(
        estimator=MetaGradient(lifetime=InContextLifetime(task=task, model=model), num_updates=1, remat=False),
        curriculum=DomainRandomisation(SequenceLevels(task)),
        score=Uniform(),
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, eps=1e-12)),
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
    """Accuracy at every position on held-out images, mean over sequences."""

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

seen, unseen = (
    ProjectedClassification(data=tasks.digits(), length=32, features=32, num_tasks=n) for n in (FEW, None)
)  # all ten classes
curves = {
    f"trained on {FEW} tasks, seen tasks": (RED, "--", accuracy(trained[f"{FEW} tasks"][0], seen)),
    f"trained on {FEW} tasks, unseen tasks": (RED, "-", accuracy(trained[f"{FEW} tasks"][0], unseen)),
    "trained on new tasks, unseen tasks": (BLUE, "-", accuracy(trained["new tasks"][0], unseen)),
}
for name, (color, style, curve) in curves.items():
    right.plot(np.arange(1, 33), curve, color=color, linestyle=style, label=name)
right.axhline(0.1, color=GREY, linewidth=1)
right.set(title="accuracy on held-out images", xlabel="position in the sequence", ylim=(0, 1))
right.legend(loc=(0.02, 0.63))
plt.show()

# %% [markdown]
# The model trained on few tasks has memorised them: its accuracy on seen tasks is high from the first position and does
# not increase, and on unseen tasks it stays near that of random guessing. The model trained on new tasks guesses at the
# first position of an unseen task, and improves with every example: it learns in context.

# %% [markdown]
# ## 2. A layer that is a step of gradient descent
#
# For one layer of linear attention it is known which algorithm the trained model implements. Sequences are diagonal
# unitary autoregressive processes, $x_{t+1} = W x_t$ with a new $W = \mathrm{diag}(e^{i\theta_1}, \dots)$ per sequence,
# and the layer predicts $x_{t+1}$:
# $$y_t = W_{PV} \, E_t E_t^* \, W_{KQ} \, e_t / (t - 1), \qquad e_t = (x_t, x_{t-1}).$$
# If $W_{PV}$ is zero except for a diagonal $b$, and $W_{KQ}$ except for a diagonal $a$, then $y_t = \hat W x_t$, where
# $\hat W$ is the result of one step of gradient descent from zero on $\frac12\sum_s |x_{s+1} - W x_s|^2$ with step size
# $ab / (t-1)$. The theorem: gradient flow from such weights keeps this structure, conserves $a^2 - b^2$, and $ab$ tends
# to a number $c^*$ that depends only on the moments of $x_1$ and the length.
#
# `closed_form_loss` is the exact expected loss for *any* weights, so that gradient descent on it has no sampling noise.

# %%
initials = {"Gaussian": GaussianInitial(), "sparse": SparseInitial(), "all ones": ConstantInitial()}
D, LENGTH, UPDATES = (2, 6, 20) if FAST else (4, 30, 400)
layer, initial_weights = AutoregressiveAttention(D), ((0.1, 0.1), (0.5, 1.5), (1.2, 1.2))


def diagonal_means(theta):
    """(a, b), as means over the diagonals."""
    return jnp.diag(theta["kq"][D:, :D]).mean(), jnp.diag(theta["pv"][:, :D]).mean()


def gradient_descent(task):
    """Gradient descent on the exact loss from all initial weights: the last weights, and the path of (a, b)."""
    loss = closed_form_loss(task)
    gradient = jax.grad(lambda theta: loss(theta["pv"], theta["kq"]))
    unit = task.curvature(1.0, 0.0)

    def step(theta, _):
        a, b = diagonal_means(theta)
        rate = 0.1 / (unit * jnp.maximum(a**2 + b**2, 2 * task.limit_product()))
        theta = jax.tree.map(lambda w, g: w - rate * g, theta, gradient(theta))
        return theta, jnp.stack(diagonal_means(theta))

    run = jax.jit(lambda theta: jax.lax.scan(step, theta, length=UPDATES))
    return [run(layer.structured(a, b)) for a, b in initial_weights]


processes = {
    name: DiagonalUnitaryAR(dimensions=D, length=LENGTH, initial=initial) for name, initial in initials.items()
}
results = {name: gradient_descent(task) for name, task in processes.items()}

# %%
figure, axes = plots(3, 3.4)
grid = np.geomspace(0.05, 3, 200)
for ax, (name, runs) in zip(axes, results.items(), strict=True):
    ax.plot(grid, processes[name].limit_product() / grid, color="black", linewidth=1, label="ab = c*")
    for color, (a, b), (_, path) in zip((BLUE, RED, GREEN), initial_weights, runs, strict=True):
        square = grid**2 - (a * a - b * b)
        ax.plot(grid, np.sqrt(np.where(square > 0, square, np.nan)), color="#c0c0c0", linewidth=0.8, zorder=1)
        ax.plot(*np.vstack([[a, b], path]).T, color=color, linewidth=2.2)
        ax.plot([a], [b], "o", color=color)
    ax.set(title=name, xlabel="a", ylabel="b", xlim=(0, 1.7), ylim=(0, 1.9))
axes[0].legend()
plt.show()

for name, runs in results.items():
    a, b = diagonal_means(runs[0][0])
    print(f"{name:9s} ab = {float(a * b):.4f}, the theorem's c* = {processes[name].limit_product():.4f}")

# %% [markdown]
# With Gaussian and sparse initial tokens, gradient descent ends on the curve $ab = c^*$, with $a^2 - b^2$ conserved
# (grey). With all-ones tokens it does not: the theorem's condition on the moments is violated, and off-diagonal entries
# of the two blocks leave zero.

# %%
figure, axes = plots(3, 3.0)
for ax, (name, runs) in zip(axes, results.items(), strict=True):
    weights = np.asarray(runs[0][0]["kq"])
    ax.imshow(weights / np.abs(weights).max(), cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set(title=f"W_KQ, {name}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 3. One step and least squares
#
# One step of gradient descent does not solve the least-squares problem. Its error relative to $|x|^2$ is known at every
# position: with sparse initial tokens it is zero from the second example on, with all ones it vanishes as the length
# grows, and with Gaussian tokens it does not vanish: the prediction tends to a fifth of the target.
#
# A *mesa-layer* instead solves the least-squares problem at every position, by a rank-one update of an inverse matrix.
# Its weights can be trained; here both linear attention and the mesa-layer get the weights of the construction, and
# predict the next states of linear systems with unknown orthogonal transition matrices.

# %%
system = LinearSystem(dimensions=D, length=24)
mesa, step = MesaLayer(inputs=D, targets=D, outputs=D), OneStepAttention(inputs=D, targets=D, outputs=D)


@jax.jit
@jax.vmap
def errors(key):
    """Losses of both layers at every position of one sequence."""
    key_system, key_context = jax.random.split(key)
    transition = system.sample(key_system)
    context = system.context(key_context, transition, held_out=True)
    predictions = (
        mesa.apply(mesa.least_squares(1e3), context.xs, context.ys_prev),
        step.apply(step.gradient_descent(1.5), context.xs, context.ys_prev),
    )
    return [system.losses(transition, outputs, context.targets)[0] for outputs in predictions]


mesa_losses, step_losses = (np.asarray(x).mean(0) for x in errors(jax.random.split(jax.random.key(1), SEQUENCES)))

figure, (left, right) = plots(2)
for color, (name, task) in zip((BLUE, RED, GREEN), processes.items(), strict=True):
    left.plot(np.arange(2, LENGTH), task.relative_error(task.limit_product()), color=color, label=name)
left.set(title="one step: relative squared error (theory)", xlabel="position", ylim=(0, 1.5))
left.legend()
right.plot(np.arange(1, 25), step_losses, color=BLUE, label="one step of gradient descent")
right.plot(np.arange(1, 25), mesa_losses, color=RED, label="mesa-layer")
right.set(title="next-state prediction of a linear system", xlabel="position", ylabel="loss", yscale="log")
right.legend()
plt.show()

# %% [markdown]
# After d examples the mesa-layer has identified the system up to its noise. `python -m experiments.mesa` trains such
# layers and compares theory with measurement in a table; `python -m experiments.gpicl` sweeps the number of tasks;
# `python -m experiments.icl_uncertainty` compares the predictive uncertainty of Transformers with the exact posterior.
