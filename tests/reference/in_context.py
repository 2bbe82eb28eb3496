"""The smallest in-context lifetimes."""

import functools

import jax
import numpy as np

from lopt.incontext import Transformer
from lopt.tasks import InContextLifetime, ProjectedClassification, SequenceLevels
from tests.reference.supervised import spots

T, FEATURES, SLOTS = 4, 3, 3


@functools.cache
def lifetime(held_out=False):
    """A small Transformer that classifies projections of the forty points of `spots` in context."""
    task = ProjectedClassification(data=spots(), length=T, features=FEATURES, slots=SLOTS)
    model = Transformer(
        inputs=FEATURES, targets=SLOTS, outputs=SLOTS, positions=T, width=4, layers=1, heads=1, expansion=1
    )
    return InContextLifetime(task=task, model=model, held_out=held_out)


def levels(*lengths):
    """Levels with these lifetimes, each a task instance."""
    keys = jax.random.split(jax.random.key(7), len(lengths))
    sampled = jax.jit(jax.vmap(SequenceLevels(lifetime().task)))(keys)
    return sampled.replace(num_updates=np.array(lengths, np.int32))
