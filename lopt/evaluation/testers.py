"""Meta-testing: learners trained from scratch under a rule and measured, and in-context classifiers at every position.
All rules get the same seeds and levels, all classifiers the same sequences.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from flax import struct

from lopt.evaluation.report import table
from lopt.evaluation.statistics import Interval, bootstrap, mean, paired_difference
from lopt.protocols import LearnedOptimizer, Lifetime, SequenceModel, Task
from lopt.tasks import ProjectedClassification, SupervisedLifetime, Variations
from lopt.training import jit_once, jit_repeated
from lopt.types import Context, Key, Level, Metrics, Theta
from lopt.unroll import unroll


def no_records(metrics: Metrics) -> Any:
    """No metric of the updates is kept."""
    return ()


class MetaTestResult(struct.PyTreeNode):
    """Measurements of L learners, leaves `[L, ...]`.

    Attributes:
        initial: of the learners at initialisation; `()` if they were not measured.
        final: of the learners after their last update.
        records: of each update, `[L, K, ...]`.
    """

    initial: Any
    final: Any
    records: Any


@dataclass(frozen=True, eq=False, kw_only=True)
class MetaTester:
    """Trains one learner from scratch on each of L levels, and measures it.

    All rules that are tested with the same keys and levels get the same initial learners, minibatches and episodes, as
    far as they are drawn by keys: their results are paired.

    Attributes:
        lifetime: how a learner is initialised and updated.
        num_updates: K, updates; at least the longest lifetime among the levels (a finished learner stays as it is).
        measure: `(key, level, learner) -> ` a measurement, arrays of any structure.
        batch_size: levels that are trained on at the same time; None for all.
        records: from the metrics of one update to what is kept of them.
        measure_initial: whether initial learners are measured, too, with the key of the final measurement.
    """

    lifetime: Lifetime
    num_updates: int
    measure: Callable[[Key, Level, Any], Any]
    batch_size: int | None = None
    records: Callable[[Metrics], Any] = no_records
    measure_initial: bool = False

    def __post_init__(self) -> None:
        for name in ("num_updates", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"MetaTester: {name} must be at least 1 (got {value})")

    def __call__(self, keys: Key, theta: Theta, levels: Level) -> MetaTestResult:
        """The measurements for keys `[L]` and levels `[L]`; compiled at the first call for a number of levels."""
        if keys.shape != levels.num_updates.shape:
            raise ValueError(
                f"MetaTester: expected a key for each level (got {keys.shape[0]} keys and "
                f"{levels.num_updates.shape[0]} levels)"
            )
        return self._compiled(keys, theta, levels)

    @cached_property
    def _compiled(self) -> Callable[[Key, Theta, Level], MetaTestResult]:
        def test(keys: Key, theta: Theta, levels: Level) -> MetaTestResult:
            size = min(self.batch_size or keys.shape[0], keys.shape[0])
            if size == keys.shape[0]:
                return jax.vmap(self.run, (0, None, 0))(keys, theta, levels)
            return jax.lax.map(lambda xs: self.run(xs[0], theta, xs[1]), (keys, levels), batch_size=size)

        return jit_repeated(test)

    def run(self, key: Key, theta: Theta, level: Level) -> MetaTestResult:
        """One learner on one level, not compiled."""
        key_init, key_updates, key_measure = jax.random.split(key, 3)
        initial = self.lifetime.init(key_init, theta, level)

        def step(key: Key, state: Any) -> tuple[Any, Any]:
            state, info = self.lifetime.step(key, theta, level, state)
            return state, self.records(info.metrics)

        final, records = unroll(step, key_updates, initial, self.num_updates)
        return MetaTestResult(
            initial=self.measure(jax.random.clone(key_measure), level, initial) if self.measure_initial else (),
            final=self.measure(key_measure, level, final),
            records=records,
        )


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


@dataclass(frozen=True)
class OptimizerComparison:
    """Results of several optimizers on several tasks, relative to one of them.

    Attributes:
        results: by task and by optimizer; those of a task are paired by seed.
        baseline: name of the optimizer to which losses are related.
    """

    results: Mapping[str, Mapping[str, OptimizerResult]]
    baseline: str

    @cached_property
    def losses(self) -> dict[str, dict[str, Interval]]:
        """Mean held-out losses with 95 % intervals over seeds, by task and by optimizer."""
        return {
            task: {name: bootstrap(m.losses, mean) for name, m in row.items()} for task, row in self.results.items()
        }

    @cached_property
    def log_ratios(self) -> dict[str, dict[str, Interval]]:
        """Mean of log10(loss / the baseline's loss), paired by seed, with 95 % intervals, by task and by optimizer."""
        ratios = {}
        for task, row in self.results.items():
            logs = {name: np.log10(np.maximum(m.losses, 1e-12)) for name, m in row.items()}
            own = logs.pop(self.baseline)
            ratios[task] = {name: paired_difference(x, own) for name, x in logs.items()}
        return ratios

    @property
    def rates(self) -> dict[str, dict[str, float]]:
        """The tuned learning rates, by task and by optimizer."""
        return {task: {name: m.rate for name, m in row.items() if m.rate} for task, row in self.results.items()}

    def table(self, tasks: Sequence[str], rate: str) -> str:
        """A Markdown table of the results on these tasks; `rate` is the heading of the tuned rates."""
        rows = [
            (task, name, self.losses[task][name], self.log_ratios[task].get(name, "-"))
            + ("-" if m.rate is None else f"{m.rate:.2g}",)
            for task in tasks
            for name, m in self.results[task].items()
        ]
        return table(("task", "optimizer", "held-out loss", f"log10 ratio to {self.baseline}", rate), rows)


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
