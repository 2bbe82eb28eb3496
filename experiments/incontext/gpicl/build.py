"""Builds the tasks, the sequence model and the outer loop of a run from its configuration."""

import math
from dataclasses import dataclass, replace

import numpy as np
import optax

from experiments.cli.command_line import check_contract, is_import_path
from experiments.incontext.gpicl.config import StudyConfig
from experiments.incontext.gpicl.names import REPEATED, check_outputs, dataset, make_model
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.protocols import SequenceModel
from lopt.tasks import Dataset, Examples, InContextLifetime, ProjectedClassification, SequenceLevels


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        tasks: distribution of tasks in meta-training.
        model: the in-context learner.
        learner: the outer loop.
    """

    tasks: ProjectedClassification
    model: SequenceModel
    learner: MetaLearner

    @property
    def seen(self) -> ProjectedClassification:
        """The meta-training tasks as they are evaluated: sequences of all classes, with permuted labels."""
        return replace(self.tasks, unpermuted=0.0, min_classes=None)

    @property
    def unseen(self) -> ProjectedClassification:
        """New tasks from the data set of meta-training, evaluated like `seen`."""
        return replace(self.seen, num_tasks=None)

    def other(self, name: str) -> ProjectedClassification:
        """New tasks from another data set; its training and held-out examples are both unseen, so both are used."""
        data = dataset(name)
        if name not in REPEATED:
            examples = Examples(
                np.concatenate([data.train.inputs, data.held_out.inputs]),
                np.concatenate([data.train.targets, data.held_out.targets]),
            )
            data = Dataset(examples, examples, data.outputs)
        return replace(self.unseen, data=data, distinct=name not in REPEATED)


def build(config: StudyConfig) -> Study:
    """Build the study that a configuration describes.

    Raises:
        ValueError: the data set cannot be read, or a size does not match it.
    """
    options, meta = config.tasks, config.meta
    data = dataset(options.dataset)
    task = ProjectedClassification(
        data=data,
        length=options.length,
        features=options.features or math.prod(data.train.inputs.shape[1:]),
        slots=options.slots,
        num_tasks=options.num_tasks or None,
        pool_seed=config.run.seed,
        unpermuted=options.unpermuted,
        min_classes=options.min_classes or None,
        centred=options.centred,
        distinct=options.dataset not in REPEATED,
    )
    sizes = {"inputs": task.features, "targets": task.slots, "outputs": task.slots}
    model = make_model(config.model, sizes, task.length)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, meta.learning_rate, meta.warmup, meta.num_steps, 0.1 * meta.learning_rate
    )
    optimizer = optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(schedule, eps=meta.epsilon))
    learner = MetaLearner(
        estimator=MetaGradient(lifetime=InContextLifetime(task=task, model=model), num_updates=1, remat=False),
        curriculum=DomainRandomisation(SequenceLevels(task)),
        score=Uniform(),
        optimizer=optimizer,
        num_lifetimes=meta.batch_size,
        stagger=False,
        pack=meta.batch_size,
        rule=model,
    )
    if is_import_path(config.model.name):
        check_contract(config.model.name, learner.init, learner.step, model)
        check_outputs(config.model.name, model, sizes, task.length)
    return Study(task, model, learner)
