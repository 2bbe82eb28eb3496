"""Evaluation of in-context learning: accuracy at every position on seen tasks, unseen tasks and other data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.incontext.gpicl.build import Study
from lopt import tasks
from lopt.evaluation import SequenceTester

CURVE_SEED, REPORT_SEED = 1, 2
"""Seeds of the evaluation sequences, of the learning curve and of the report; meta-training uses the run's seed."""
PLATEAU_FRACTION = 0.9
"""The plateau ends when the mean loss is below this fraction of log N_y, the loss of a uniform prediction."""


REFERENCES = {
    "class mean": tasks.class_mean,
    "nearest neighbour": tasks.nearest_neighbour,
    "logistic regression": tasks.logistic_regression,
    "label frequency": tasks.label_frequency,
}
"""Reference classifiers by their names in the report."""


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
        seen: `SequenceResult.summary` on seen tasks, held-out examples.
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
