"""Optimizers to be distilled: what is recorded of them, what is told of a fit, and how it is saved and drawn."""

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

from experiments.common import plots
from experiments.common.compiling import often
from experiments.common.report import image
from experiments.distil.config import DistilConfig
from experiments.distil.formula import formula
from experiments.learned_optimizer.names import TASKS
from lopt.export import save_program
from lopt.search import Imitation, Mutation, Program, fingerprint, from_program, parse, published
from lopt.types import Progress

HELD_OUT = 8
"""Held-out batches that score a learner."""


@dataclass(frozen=True)
class OptimizerSubject:
    """An optimizer, seen at work on a task.

    Attributes:
        optimizer: what was learned.
        config: at what it is watched.
    """

    optimizer: optax.GradientTransformation
    config: DistilConfig

    initial = parse(published.ADAMW)
    noun = "optimizer"
    reading = (
        "R^2 and the error are those on the life of another newborn, whose weights and gradients the program is shown; "
        "the losses are those of learners on their own."
    )

    def life(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, gradients and updates `[T, n]` of one newborn's life; that of seed 0 is fitted."""
        (w, g, updates), _ = live(self.config, self.optimizer, seed)
        rng = np.random.default_rng(self.config.run.seed)
        watched = np.sort(rng.permutation(w.shape[1])[: self.config.optimizer.weights])
        return (
            w[:, watched].astype(np.float64),
            g[:, watched].astype(np.float64),
            updates[:, watched].astype(np.float64),
        )

    def goal(self, parsimony: float) -> Callable[[Program], float]:
        """The fitness."""
        return Imitation(*self.life(0), parsimony)

    def mutation(self, longest: int) -> Mutation:
        """How structures change."""
        return Mutation(longest=longest)

    def behaviour(self, program: Program) -> bytes:
        """What is done on two small problems."""
        return fingerprint(program).encode()

    def settled(self, program: Program) -> Program:
        """As it is: the schedule's value stays."""
        return program

    def usable(self, program: Program) -> bool:
        """Whether its updates are numbers."""
        return math.isfinite(self.goal(0.0)(program))

    def r_squared(self, program: Program) -> float:
        """On another newborn's life."""
        return 1 + Imitation(*self.life(1), parsimony=0.0)(program)

    def measures(self, program: Program) -> dict[str, float]:
        """On another newborn's life: R^2, the root of the mean squared error, and held-out losses at its end.

        `loss_formula` is that of a learner moved by the program, the other that of one moved by the rule; both begin
        alike.
        """
        r_squared, deviation = self.r_squared(program), float(np.std(self.life(1)[2]))
        return {
            "r_squared": r_squared,
            "rmse": deviation * math.sqrt(1 - r_squared),
            "deviation": deviation,
            "loss_rule": live(self.config, self.optimizer, 1)[1],
            "loss_formula": live(self.config, from_program(program), 1)[1],
        }

    def text(self, program: Program) -> str:
        """As a formula."""
        return formula(program)

    def save(self, path: Path, program: Program, **provenance: Any) -> None:
        """As a rule file of a program."""
        save_program(path, program, **provenance)

    def draw(self, program: Program, path: Path) -> str:
        """What the rule and the program do to a few weights of a life that was not fitted; the Markdown."""
        goal = Imitation(*self.life(1), parsimony=0.0)
        added = goal.updates_of(program)
        shown = np.argsort(-np.abs(goal.updates).max(0))[[0, added.shape[1] // 8, added.shape[1] // 3]]
        with plots.figure(path, columns=len(shown) + 1) as (drawing, axes):
            axes[0, 0].plot(goal.updates.ravel(), added.ravel(), ".", color=plots.COLORS[0], markersize=2, alpha=0.3)
            axes[0, 0].set(title="all updates", xlabel="learned", ylabel="formula")
            for axis, i in zip(axes[0, 1:], shown, strict=True):
                axis.plot(goal.updates[:, i], color=plots.COLORS[0], label="learned", linewidth=3, alpha=0.4)
                axis.plot(added[:, i], color=plots.COLORS[1], label="formula", linewidth=1.3)
                axis.set(title="updates of a weight", xlabel="step")
            drawing.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right center")
        return image(path.name, "Updates of a life that was not fitted; the formula sees the rule's own weights.")


@cache
def live(
    config: DistilConfig, optimizer: optax.GradientTransformation, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], float]:
    """Weights, gradients and updates `[T, all]` of a newborn's life, and its held-out loss at the end."""
    sizes = config.optimizer
    task = _task(sizes.task)
    optimizer = optax.with_extra_args_support(optimizer)
    key_variation, key_init, key_life = jax.random.split(jax.random.fold_in(jax.random.key(config.run.seed), seed), 3)
    variation = task.sample(key_variation)

    def step(carry, inputs):
        params, state = carry
        age, key = inputs
        key_batch, key_optimizer = jax.random.split(key)
        batch = task.batch(key_batch, variation, held_out=False)
        (value, (_, told)), grads = jax.value_and_grad(task.loss, argnums=1, has_aux=True)(variation, params, batch)
        told = {"value": value, "progress": Progress(age, jnp.int32(sizes.steps)), "key": key_optimizer} | told
        updates, state = optimizer.update(grads, state, params, **told)
        row = tuple(ravel_pytree(tree)[0] for tree in (params, grads, updates))
        return (optax.apply_updates(params, updates), state), row

    def whole():
        params = task.init(key_init, variation)
        keys = jax.random.split(key_life, sizes.steps)
        (params, _), rows = jax.lax.scan(step, (params, optimizer.init(params)), (jnp.arange(sizes.steps), keys))
        batches = [task.batch(key, variation, held_out=True) for key in jax.random.split(jax.random.key(0), HELD_OUT)]
        return rows, sum(task.loss(variation, params, batch)[0] for batch in batches) / HELD_OUT

    rows, loss = often(whole)()
    return tuple(np.asarray(x) for x in rows), float(loss)


@cache
def _task(name: str):
    return TASKS[name]()
