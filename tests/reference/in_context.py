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
    """A tiny Transformer learns to tell forty points apart."""
    task = ProjectedClassification(spots(), T, FEATURES, SLOTS)
    model = Transformer(FEATURES, SLOTS, SLOTS, T, width=4, layers=1, heads=1, expansion=1)
    return InContextLifetime(task, model, held_out)


def levels(*lengths):
    """Tasks, with these lifetimes."""
    keys = jax.random.split(jax.random.key(7), len(lengths))
    drawn = jax.jit(jax.vmap(SequenceLevels(lifetime().task)))(keys)
    return drawn.replace(lifetime=np.array(lengths, np.int32))
