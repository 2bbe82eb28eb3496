"""The suite of learning in context: sequence models on unseen tasks, beside classifiers fitted to the same examples."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from experiments.incontext.gpicl.names import REPEATED, dataset
from experiments.suites.candidates import Candidate
from experiments.suites.suite import Scores, between
from lopt import tasks
from lopt.evaluation import SequenceTester
from lopt.evaluation.testers import Classifier
from lopt.incontext import GRU
from lopt.tasks import Dataset, Examples, ProjectedClassification
from lopt.training.checks import at_least

BASELINES: dict[str, Classifier] = {
    "label_frequency": tasks.label_frequency,
    "class_mean": tasks.class_mean,
    "nearest_neighbour": tasks.nearest_neighbour,
    "logistic_regression": tasks.logistic_regression,
}
DEFAULT_TASKS = ("digits", "letters", "wine", "breast_cancer", "iris")
LENGTH, FEATURES, SLOTS = 32, 32, 10
"""Examples of a sequence with the query, width of the projected inputs, and label slots, as in GPICL's quick preset."""

UNUSED = GRU(inputs=FEATURES, targets=SLOTS, outputs=SLOTS)
"""The model of a tester whose sequences alone are used."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InContextSuite:
    """Accuracy on random projections and label permutations of data sets, over the last quarter of 32 positions.

    Of digits, the held-out images are used; of other data sets all examples, which are unseen by a rule that was not
    trained on them (its card says what it was trained on).

    Attributes:
        tasks: data sets.
        num_levels: sequences, each with a task of its own.
        seed: of the sequences.
    """

    tasks: tuple[str, ...]
    num_levels: int
    seed: int

    kinds = ("in-context learner",)
    required = ("label_frequency", "logistic_regression")
    measure = "accuracy over the last quarter of the positions"
    scale = "label frequency = 0, logistic regression = 1"

    def __post_init__(self) -> None:
        at_least(1, self, "num_levels")
        for task in self.tasks:
            dataset(task)

    @property
    def baselines(self) -> Mapping[str, Classifier]:
        """Baselines by name."""
        return BASELINES

    def check(self, candidate: Candidate) -> None:
        """Check the widths of the model and the length of its sequences.

        Raises:
            ValueError: others than those of the suite.
        """
        if candidate.kind == "baseline":
            return
        learner = candidate.value
        widths = (learner.model.inputs, learner.model.targets, learner.length)
        if widths[:2] != (FEATURES, SLOTS) or learner.length < LENGTH:
            raise ValueError(
                f"{candidate.name}: suite incontext has {FEATURES} inputs, {SLOTS} slots and sequences of {LENGTH} "
                f"examples (the rule: {', '.join(map(str, widths))})"
            )

    def scores(self, candidate: Candidate, task: str) -> Scores:
        """Accuracies `[1, sequences]`."""
        seed = (zlib.crc32(task.encode()) ^ self.seed) % 2**31
        distribution = _tasks(task)
        if candidate.kind == "baseline":
            xs, labels = SequenceTester(distribution, UNUSED).examples(seed, self.num_levels)
            correct = candidate.value(xs, labels, SLOTS)
        else:
            learner = candidate.value
            correct = SequenceTester(distribution, learner.model)(learner.theta, seed, self.num_levels).accuracy
        return Scores(np.asarray(correct, np.float64)[:, -(LENGTH // 4) :].mean(1)[None])

    def normalised(self, values: np.ndarray, required: Mapping[str, np.ndarray]) -> np.ndarray:
        """label frequency = 0, logistic regression = 1, of their means on the data set."""
        return between(values, required["label_frequency"], required["logistic_regression"])


def _tasks(name: str) -> ProjectedClassification:
    """The distribution of tasks of a data set."""
    data = dataset(name)
    if name not in (*REPEATED, "digits"):
        examples = Examples(
            np.concatenate([data.train.inputs, data.held_out.inputs]),
            np.concatenate([data.train.targets, data.held_out.targets]),
        )
        data = Dataset(examples, examples, data.outputs)
    tasks = ProjectedClassification(data=data, length=LENGTH, features=FEATURES, slots=SLOTS)
    return replace(tasks, distinct=name not in REPEATED)
