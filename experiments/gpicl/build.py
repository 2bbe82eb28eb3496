"""From a configuration to the objects it stands for."""

import math
from dataclasses import dataclass, replace

import jax
import numpy as np
import optax

from experiments.gpicl.config import StudyConfig
from experiments.gpicl.names import MODELS, REPEATED, dataset
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.protocols import SequenceModel
from lopt.tasks import Dataset, Examples, InContextLifetime, ProjectedClassification, SequenceLevels
from lopt.types import Key, MetaState


@dataclass(frozen=True)
class Study:
    """The parts of a run: the tasks of meta-training, the model that learns, and the outer loop."""

    tasks: ProjectedClassification
    model: SequenceModel
    learner: MetaLearner

    def init(self, key: Key) -> MetaState:
        """The state before the first meta-step."""
        key_model, key_learner = jax.random.split(key)
        return self.learner.init(key_learner, self.model.init(key_model))

    @property
    def seen(self) -> ProjectedClassification:
        """The tasks of meta-training as they are measured: sequences of all classes, labels permuted."""
        return replace(self.tasks, in_place=0.0, fewest=None)

    @property
    def unseen(self) -> ProjectedClassification:
        """New tasks of the same data set."""
        return replace(self.seen, num_tasks=None)

    def other(self, name: str) -> ProjectedClassification:
        """New tasks of another data set, all of whose examples are new."""
        data = dataset(name)
        if name not in REPEATED:
            whole = Examples(
                np.concatenate([data.train.inputs, data.held_out.inputs]),
                np.concatenate([data.train.targets, data.held_out.targets]),
            )
            data = Dataset(whole, whole, data.outputs)
        return replace(self.unseen, data=data, distinct=name not in REPEATED)


def build(config: StudyConfig) -> Study:
    """Assemble a study.

    Raises:
        ValueError: data that cannot be read, or sizes that do not fit it.
    """
    options, meta = config.tasks, config.meta
    data = dataset(options.dataset)
    task = ProjectedClassification(
        data,
        options.length,
        options.features or math.prod(data.train.inputs.shape[1:]),
        options.slots,
        options.num_tasks or None,
        pool=config.run.seed,
        in_place=options.in_place,
        fewest=options.fewest or None,
        centred=options.centred,
        distinct=options.dataset not in REPEATED,
    )
    sizes = {"inputs": task.features, "targets": task.slots, "outputs": task.slots}
    model = MODELS[config.model.name](config.model, sizes, task.length)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, meta.learning_rate, meta.warmup, meta.num_steps, 0.1 * meta.learning_rate
    )
    optimizer = optax.chain(optax.clip_by_global_norm(meta.max_norm), optax.adam(rate, eps=meta.epsilon))
    learner = MetaLearner(
        MetaGradient(InContextLifetime(task, model), 1, remat=False),
        DomainRandomisation(SequenceLevels(task)),
        Uniform(),
        optimizer,
        meta.batch_size,
        stagger=False,
        pack=meta.batch_size,
    )
    return Study(task, model, learner)
