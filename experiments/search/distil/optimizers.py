"""Learned optimizers as distillation targets: trajectories, fitness, metrics, rule files and figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from experiments.cli.tasks import TASKS
from experiments.search.distil.config import DistilConfig
from lopt.evaluation import image, plots
from lopt.rules import save_program
from lopt.search import Imitation, Mutation, Program, fingerprint, formula, from_program, parse, published
from lopt.training import jit_repeated
from lopt.types import Progress

HELD_OUT_BATCHES = 8
"""Number of held-out batches over which a learner's loss is averaged."""


@dataclass(frozen=True)
class OptimizerTarget:
    """A learned optimizer, with trajectories of learners that it trains on a task.

    Attributes:
        optimizer: the optimizer.
        config: the configuration, with the task and the length of the trajectories.
    """

    optimizer: optax.GradientTransformation
    config: DistilConfig

    initial = parse(published.ADAMW)
    kind = "optimizer"
    explanation = (
        "R^2 and the error are measured on the optimizer's trajectory from another initial learner, with the program "
        "evaluated at the trajectory's weights and gradients. The losses are those of two learners, one trained by the "
        "optimizer and one by the formula."
    )

    def trajectory(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, gradients and updates `[T, n]` of a learner trained by the optimizer; the fit is to seed 0."""
        (w, g, updates), _ = train_learner(self.config, self.optimizer, seed)
        rng = np.random.default_rng(self.config.run.seed)
        recorded = np.sort(rng.permutation(w.shape[1])[: self.config.optimizer.weights])
        return (
            w[:, recorded].astype(np.float64),
            g[:, recorded].astype(np.float64),
            updates[:, recorded].astype(np.float64),
        )

    def fitness(self, parsimony: float) -> Callable[[Program], float]:
        """The fitness of a program, with the cost `parsimony` of a statement."""
        return Imitation(*self.trajectory(0), parsimony)

    def mutation(self, longest: int) -> Mutation:
        """The mutation of the structure."""
        return Mutation(longest=longest)

    def behaviour(self, program: Program) -> bytes:
        """The program's fingerprint: equal for equivalent programs."""
        return fingerprint(program).encode()

    def without_time(self, program: Program) -> Program:
        """The program itself: the schedule's value stays an input."""
        return program

    def usable(self, program: Program) -> bool:
        """Whether its updates are finite on the trajectory of the fit."""
        return math.isfinite(self.fitness(0.0)(program))

    def r_squared(self, program: Program) -> float:
        """R^2 on the trajectory of another initial learner."""
        return 1 + Imitation(*self.trajectory(1), parsimony=0.0)(program)

    def metrics(self, program: Program) -> dict[str, float]:
        """Metrics on the trajectory of another initial learner.

        R^2, the root of the mean squared error, the standard deviation of the updates, and the final held-out losses of
        the learner trained by the optimizer (`loss_rule`) and by the program (`loss_formula`).
        """
        r_squared, deviation = self.r_squared(program), float(np.std(self.trajectory(1)[2]))
        return {
            "r_squared": r_squared,
            "rmse": deviation * math.sqrt(1 - r_squared),
            "deviation": deviation,
            "loss_rule": train_learner(self.config, self.optimizer, 1)[1],
            "loss_formula": train_learner(self.config, from_program(program), 1)[1],
        }

    def text(self, program: Program) -> str:
        """The formula as a Python function."""
        return formula(program)

    def save(self, path: Path, program: Program, **provenance: Any) -> None:
        """Save the program as a rule file."""
        save_program(path, program, **provenance)

    def draw(self, program: Program, path: Path) -> str:
        """Plot updates of the optimizer and the program on the held-out trajectory; returns the figure's Markdown."""
        imitation = Imitation(*self.trajectory(1), parsimony=0.0)
        learned, predicted = imitation.updates, imitation.updates_of(program)
        shown = np.argsort(-np.abs(learned).max(0))[[0, predicted.shape[1] // 8, predicted.shape[1] // 3]]
        with plots.figure(path, columns=len(shown) + 1) as (figure, axes):
            axes[0, 0].plot(learned.ravel(), predicted.ravel(), ".", color=plots.COLORS[0], markersize=2, alpha=0.3)
            axes[0, 0].set(title="all updates", xlabel="learned", ylabel="formula")
            for axis, i in zip(axes[0, 1:], shown, strict=True):
                axis.plot(learned[:, i], color=plots.COLORS[0], label="learned", linewidth=3, alpha=0.4)
                axis.plot(predicted[:, i], color=plots.COLORS[1], label="formula", linewidth=1.3)
                axis.set(title="updates of a weight", xlabel="step")
            plots.shared_legend(figure, axes[0, -1])
        return image(path.name, "Updates on a trajectory that was not fitted, at the learned optimizer's own weights.")


@cache
def train_learner(
    config: DistilConfig, optimizer: optax.GradientTransformation, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], float]:
    """Weights, gradients and updates `[T, P]` of a learner trained for one lifetime, and its final held-out loss."""
    sizes = config.optimizer
    task = _task(sizes.task)
    optimizer = optax.with_extra_args_support(optimizer)
    key_instance, key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(config.run.seed), seed), 3)
    instance = task.sample(key_instance)

    def step(carry, inputs):
        params, state = carry
        i, key = inputs
        key_batch, key_optimizer = jax.random.split(key)
        batch = task.batch(key_batch, instance, held_out=False)
        (value, (_, info)), grads = jax.value_and_grad(task.loss, argnums=1, has_aux=True)(instance, params, batch)
        extra_args = {"value": value, "progress": Progress(i, jnp.int32(sizes.steps)), "key": key_optimizer} | info
        updates, state = optimizer.update(grads, state, params, **extra_args)
        row = tuple(ravel_pytree(tree)[0] for tree in (params, grads, updates))
        return (optax.apply_updates(params, updates), state), row

    def train():
        params = task.init(key_init, instance)
        keys = jax.random.split(key_train, sizes.steps)
        (params, _), rows = jax.lax.scan(step, (params, optimizer.init(params)), (jnp.arange(sizes.steps), keys))
        keys = jax.random.split(jax.random.key(0), HELD_OUT_BATCHES)
        batches = [task.batch(key, instance, held_out=True) for key in keys]
        return rows, sum(task.loss(instance, params, batch)[0] for batch in batches) / HELD_OUT_BATCHES

    (w, g, updates), loss = jit_repeated(train)()
    return (np.asarray(w), np.asarray(g), np.asarray(updates)), float(loss)


@cache
def _task(name: str):
    return TASKS[name]()
