"""How well a model learns in context: its accuracy at every position, on seen and unseen tasks and on other data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from experiments.common.compiling import often
from experiments.gpicl.build import Study
from experiments.gpicl.references import REFERENCES
from lopt.protocols import SequenceModel
from lopt.tasks import ProjectedClassification
from lopt.types import Context, Key, Theta

CURVE, TABLE = 1, 2
"""Which sequences: those of the learning curve, or those of the report. Training draws from the run's own seed."""
PER_CALL = 64
"""Sequences of a compiled call."""
LEFT = 0.9
"""The plateau is left when the mean loss is below this part of log N_y, the loss of a guess."""


def end(curve: np.ndarray) -> float:
    """The mean over the last quarter of the positions: steadier than the last one alone."""
    return float(np.mean(curve[-max(1, len(curve) // 4) :]))


@dataclass(frozen=True)
class Measured:
    """Per-position losses and accuracies `[S, T]` of S sequences, each of a task of its own."""

    loss: np.ndarray
    accuracy: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """Improvement within the sequence, accuracy at the last position minus that at the first, `[S]`."""
        return self.accuracy[:, -1] - self.accuracy[:, 0]

    def summary(self) -> dict[str, Any]:
        """What is kept of it: the curves, their ends, and the improvement within the sequence."""
        accuracy = self.accuracy.mean(0)
        return {
            "accuracy": accuracy,
            "loss": self.loss.mean(0),
            "first": accuracy[0],
            "last": accuracy[-1],
            "end": end(accuracy),
            "gain": accuracy[-1] - accuracy[0],
            "mean_loss": self.loss.mean(),
        }


@dataclass(frozen=True, eq=False)
class Gauge:
    """Measures a model on sequences of one distribution of tasks.

    Attributes:
        tasks: the distribution.
        model: what learns in context.
        held_out: whether the examples are those that are never trained on.
    """

    tasks: ProjectedClassification
    model: SequenceModel
    held_out: bool = True

    def _draw(self, key: Key) -> tuple[Any, Context]:
        key_task, key_context = jax.random.split(key)
        task = self.tasks.sample(key_task)
        return task, self.tasks.context(key_context, task, held_out=self.held_out)

    @cached_property
    def _measure(self) -> Callable[[Theta, Key], tuple[jax.Array, jax.Array]]:
        def one(theta: Theta, key: Key) -> tuple[jax.Array, jax.Array]:
            task, context = self._draw(key)
            outputs = self.model.apply(theta, context.xs, context.ys_prev)
            loss, metrics = self.tasks.losses(task, outputs, context.targets)
            return loss, metrics["accuracy"]

        return often(lambda theta, keys: jax.vmap(one, (None, 0))(theta, keys))

    def _keys(self, which: int, number: int) -> list[Key]:
        keys = jax.random.split(jax.random.key(which), number)
        return [keys[start : start + PER_CALL] for start in range(0, number, PER_CALL)]

    def __call__(self, theta: Theta, which: int, number: int) -> Measured:
        """The model's curves on `number` sequences."""
        parts = [self._measure(theta, keys) for keys in self._keys(which, number)]
        return Measured(*(np.concatenate([np.asarray(part[i]) for part in parts]) for i in (0, 1)))

    def references(self, which: int, number: int) -> dict[str, np.ndarray]:
        """Accuracies `[T]` of what can be known, on the same sequences."""
        draw = often(lambda keys: jax.vmap(lambda key: self._draw(key)[1])(keys))
        contexts = [draw(keys) for keys in self._keys(which, number)]
        xs = np.concatenate([np.asarray(part.xs) for part in contexts])
        labels = np.concatenate([np.asarray(part.targets) for part in contexts])
        return {name: right(xs, labels, self.tasks.slots).mean(0) for name, right in REFERENCES.items()}


def gauges(study: Study, datasets: tuple[str, ...]) -> dict[str, Gauge]:
    """Every measurement of the report by its name."""
    found = {
        "seen tasks, training examples": Gauge(study.seen, study.model, held_out=False),
        "seen tasks, held-out examples": Gauge(study.seen, study.model),
        "unseen tasks": Gauge(study.unseen, study.model),
    }
    return found | {f"unseen tasks of {name}": Gauge(study.other(name), study.model) for name in datasets}


def plateau(rows: list[Mapping[str, float]], slots: int) -> float | None:
    """Meta-steps until the mean loss on seen tasks was first measured below 0.9 log N_y; None if it never was."""
    left = (row["step"] for row in rows if row.get("seen/loss", np.inf) < LEFT * np.log(slots))
    return next(left, None)


def phase(seen: Mapping[str, Any], unseen: Mapping[str, Any]) -> str:
    """What was learned, by the accuracies on held-out examples: a name for each of GPICL's regimes."""
    if unseen["gain"] > 0.1:
        return "learns to learn"
    if seen["gain"] > 0.1 and unseen["gain"] < 0.05:
        return "identifies tasks"
    if seen["first"] > 0.5:
        return "memorises tasks"
    return "undecided"
