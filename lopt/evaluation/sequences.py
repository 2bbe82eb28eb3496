"""Evaluation of in-context classifiers: losses and accuracies at every position, on sequences of fixed seeds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from lopt.protocols import SequenceModel
from lopt.tasks import ProjectedClassification
from lopt.training.compiling import jit_repeated
from lopt.types import Context, Key, Theta

Classifier = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""From inputs `[S, T, F]`, labels `[S, T]` and their number to which predictions are correct `[S, T]`."""


def last_quarter(curve: np.ndarray) -> float:
    """The mean of a curve over the last quarter of its positions, which has less variance than the last value."""
    return float(np.mean(curve[-max(1, len(curve) // 4) :]))


@dataclass(frozen=True)
class SequenceResult:
    """Per-position results on S sequences, each with its own task.

    Attributes:
        loss: cross-entropy in nats, `[S, T]`.
        accuracy: 1 where the prediction is correct, else 0, `[S, T]`.
    """

    loss: np.ndarray
    accuracy: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """In-context improvement: accuracy at the last position minus accuracy at the first, `[S]`."""
        return self.accuracy[:, -1] - self.accuracy[:, 0]

    def summary(self) -> dict[str, Any]:
        """Means over sequences, for results.json.

        `accuracy` and `loss` by position `[T]`; the accuracies `first`, `last`, `last_quarter` and `gain` (last minus
        first); and `mean_loss` over all positions.
        """
        accuracy = self.accuracy.mean(0)
        return {
            "accuracy": accuracy,
            "loss": self.loss.mean(0),
            "first": accuracy[0],
            "last": accuracy[-1],
            "last_quarter": last_quarter(accuracy),
            "gain": accuracy[-1] - accuracy[0],
            "mean_loss": self.loss.mean(),
        }


@dataclass(frozen=True, eq=False)
class SequenceTester:
    """Evaluates a model on sequences from one distribution of tasks.

    Attributes:
        tasks: the distribution of tasks.
        model: the in-context learner.
        held_out: whether examples are drawn from the held-out set.
        batch_size: number of sequences per compiled call.
    """

    tasks: ProjectedClassification
    model: SequenceModel
    held_out: bool = True
    batch_size: int = 64

    def _sample(self, key: Key) -> tuple[Any, Context]:
        key_task, key_context = jax.random.split(key)
        task = self.tasks.sample(key_task)
        return task, self.tasks.context(key_context, task, held_out=self.held_out)

    @cached_property
    def _evaluate(self) -> Callable[[Theta, Key], tuple[jax.Array, jax.Array]]:
        def evaluate(theta: Theta, key: Key) -> tuple[jax.Array, jax.Array]:
            task, context = self._sample(key)
            outputs = self.model.apply(theta, context.xs, context.ys_prev)
            loss, metrics = self.tasks.losses(task, outputs, context.targets)
            return loss, metrics["accuracy"]

        return jit_repeated(lambda theta, keys: jax.vmap(evaluate, (None, 0))(theta, keys))

    def _keys(self, seed: int, number: int) -> list[Key]:
        keys = jax.random.split(jax.random.key(seed), number)
        return [keys[start : start + self.batch_size] for start in range(0, number, self.batch_size)]

    def __call__(self, theta: Theta, seed: int, number: int) -> SequenceResult:
        """Losses and accuracies of the model with meta-parameters theta on the `number` sequences of a seed."""
        parts = [self._evaluate(theta, keys) for keys in self._keys(seed, number)]
        return SequenceResult(*(np.concatenate([np.asarray(part[i]) for part in parts]) for i in (0, 1)))

    def examples(self, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `[S, T, F]` and labels `[S, T]` of the sequences that `__call__` uses."""
        sample = jit_repeated(lambda keys: jax.vmap(lambda key: self._sample(key)[1])(keys))
        contexts = [sample(keys) for keys in self._keys(seed, number)]
        xs = np.concatenate([np.asarray(part.xs) for part in contexts])
        labels = np.concatenate([np.asarray(part.targets) for part in contexts])
        return xs, labels

    def references(self, classifiers: Mapping[str, Classifier], seed: int, number: int) -> dict[str, np.ndarray]:
        """Accuracies `[T]` of classical classifiers on the sequences that `__call__` uses, by name."""
        xs, labels = self.examples(seed, number)
        return {name: correct(xs, labels, self.tasks.slots).mean(0) for name, correct in classifiers.items()}
