"""Meta-testing of optimizers: models trained from scratch, with the same seeds and minibatches for all optimizers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from lopt.evaluation.meta_tester import MetaTester
from lopt.protocols import LearnedOptimizer, Task
from lopt.tasks import SupervisedLifetime, Variations
from lopt.training import jit_once
from lopt.types import Key, Level, Theta


@dataclass(frozen=True, eq=False, kw_only=True)
class OptimizerTester:
    """Trains models of a task from scratch by optimizers; the results of all optimizers are paired.

    Attributes:
        task: the task.
        num_updates: number of updates of a model.
        batch_size: number of models trained at the same time.
        num_batches: held-out batches in the loss of a model.
        max_ratio: a final loss is at most this multiple of the initial loss; diverged models have this loss.
    """

    task: Task
    num_updates: int
    batch_size: int
    num_batches: int = 16
    max_ratio: float = 10.0

    @cached_property
    def levels(self) -> Callable[[Key], Level]:
        """A jitted `key -> levels [batch_size]`: task instances and seeds of the models."""
        sample = jax.vmap(Variations(task=self.task, num_updates=self.num_updates))
        return jit_once(lambda key: sample(jax.random.split(key, self.batch_size)))

    def losses(self, optimizer: LearnedOptimizer) -> Callable[[Theta, int, int], tuple[np.ndarray, np.ndarray]]:
        """A function `(theta, seed, number) -> (final [number], curves [number, num_updates])`.

        `final` are held-out losses after the last update, `curves` training losses; `number` is rounded down to a
        multiple of `batch_size`. Models depend on the seed alone.
        """
        lifetime = SupervisedLifetime(task=self.task, optimizer=optimizer)

        def loss(key: Key, level: Level, model: Any) -> jax.Array:
            keys = jax.random.split(key, self.num_batches)
            # theta does not enter the loss of a model that is trained
            return jax.vmap(lambda key: lifetime.meta_loss(key, (), level, model)[0])(keys).mean()

        tester = MetaTester(
            lifetime=lifetime,
            num_updates=self.num_updates,
            measure=loss,
            records=lambda metrics: metrics["loss"],
            measure_initial=True,
        )

        def run(theta: Theta, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
            finals, curves = [], []
            for part in range(number // self.batch_size):
                key_levels, key_models = jax.random.split(jax.random.fold_in(jax.random.key(seed), part))
                result = tester(jax.random.split(key_models, self.batch_size), theta, self.levels(key_levels))
                final, bound = np.asarray(result.final), self.max_ratio * np.asarray(result.initial)
                finals.append(np.where(final < bound, final, bound))
                curves.append(np.asarray(result.records))
            return np.concatenate(finals), np.concatenate(curves)

        return run


@dataclass(frozen=True)
class OptimizerResult:
    """Result of meta-testing one optimizer on one task.

    Attributes:
        losses: `[seeds]`, held-out losses after the last update.
        curve: `[num_updates]`, training loss, mean over seeds.
        rate: the tuned learning rate; None for an optimizer that was not tuned.
    """

    losses: np.ndarray
    curve: np.ndarray
    rate: float | None = None
