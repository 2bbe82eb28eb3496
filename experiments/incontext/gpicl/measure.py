"""Evaluation of in-context learning: accuracy at every position on seen tasks, unseen tasks and other data sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from experiments.incontext.gpicl.build import Study
from experiments.incontext.gpicl.references import REFERENCES
from lopt.protocols import SequenceModel
from lopt.tasks import ProjectedClassification
from lopt.training import jit_repeated
from lopt.types import Context, Key, Theta

CURVE_SEED, REPORT_SEED = 1, 2
"""Seeds of the evaluation sequences, of the learning curve and of the report; meta-training uses the run's seed."""
PER_CALL = 64
"""Sequences per compiled call."""
PLATEAU_FRACTION = 0.9
"""The plateau ends when the mean loss is below this fraction of log N_y, the loss of a uniform prediction."""


def last_quarter(curve: np.ndarray) -> float:
    """The mean of a curve over the last quarter of its positions, which has less variance than the last value."""
    return float(np.mean(curve[-max(1, len(curve) // 4) :]))


@dataclass(frozen=True)
class Measurement:
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
    """

    tasks: ProjectedClassification
    model: SequenceModel
    held_out: bool = True

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
        return [keys[start : start + PER_CALL] for start in range(0, number, PER_CALL)]

    def __call__(self, theta: Theta, seed: int, number: int) -> Measurement:
        """Losses and accuracies of the model with meta-parameters theta on the `number` sequences of a seed."""
        parts = [self._evaluate(theta, keys) for keys in self._keys(seed, number)]
        return Measurement(*(np.concatenate([np.asarray(part[i]) for part in parts]) for i in (0, 1)))

    def references(self, seed: int, number: int) -> dict[str, np.ndarray]:
        """Accuracies `[T]` of the reference classifiers on the sequences that `__call__` uses, by name."""
        sample = jit_repeated(lambda keys: jax.vmap(lambda key: self._sample(key)[1])(keys))
        contexts = [sample(keys) for keys in self._keys(seed, number)]
        xs = np.concatenate([np.asarray(part.xs) for part in contexts])
        labels = np.concatenate([np.asarray(part.targets) for part in contexts])
        return {name: correct(xs, labels, self.tasks.slots).mean(0) for name, correct in REFERENCES.items()}


def meta_testers(study: Study, datasets: tuple[str, ...]) -> dict[str, SequenceTester]:
    """The evaluations of the report by name: seen tasks, unseen tasks, and unseen tasks of other data sets."""
    testers = {
        "seen tasks, training examples": SequenceTester(study.seen, study.model, held_out=False),
        "seen tasks, held-out examples": SequenceTester(study.seen, study.model),
        "unseen tasks": SequenceTester(study.unseen, study.model),
    }
    return testers | {f"unseen tasks of {name}": SequenceTester(study.other(name), study.model) for name in datasets}


def plateau(rows: Sequence[Mapping[str, float]], slots: int) -> float | None:
    """The first meta-step at which the mean loss on seen tasks is below 0.9 log N_y; None if there is none.

    Args:
        rows: the rows of metrics.jsonl.
        slots: N_y, the width of the labels.
    """
    steps = (row["step"] for row in rows if row.get("seen/loss", np.inf) < PLATEAU_FRACTION * np.log(slots))
    return next(steps, None)


def phase(seen: Mapping[str, Any], unseen: Mapping[str, Any]) -> str:
    """The regime of GPICL in which a model is: memorisation, task identification or general learning-to-learn.

    Args:
        seen: `Measurement.summary` on seen tasks, held-out examples.
        unseen: the same on unseen tasks.

    Paper: arXiv 2212.04458 (the regimes).
    Differs: the thresholds are ours.
    """
    if unseen["gain"] > 0.1:
        return "learns to learn"
    if seen["gain"] > 0.1 and unseen["gain"] < 0.05:
        return "identifies tasks"
    if seen["first"] > 0.5:
        return "memorises tasks"
    return "undecided"
