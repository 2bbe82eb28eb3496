"""Every learned optimizer, with meta-parameters none of which is zero."""

import functools

import jax
import numpy as np

from lopt import optimizers as lo
from tests.reference.lives import random_theta

RULES = {
    "learnable SGD": lo.LearnableSGD(momentum=0.5),
    "learnable Adam": lo.LearnableAdam(),
    "MLP": lo.MLPRule(hidden=(4,), step_size=0.1, exponent=0.1),
    "Adafactor MLP": lo.AdafactorRule(step_size=0.1, exponent=0.1),
    "hierarchical": lo.HierarchicalRule(recurrent=3, control=2, hidden=(4,), step_size=0.1, exponent=0.1),
    "OPEN": lo.OpenRule(recurrent=4, width=8, step_size=0.1, exponent=0.1),
    "LSTM": lo.LSTMRule(hidden=2),
}
NEED_PARAMS = ("MLP", "Adafactor MLP", "hierarchical", "OPEN")


@functools.cache
def theta(name):
    """Meta-parameters that are not small: the logarithms of constants as they are, everything else random."""
    rule = RULES[name]
    if name.startswith("learnable"):
        return jax.tree.map(np.asarray, rule.init(jax.random.key(0)))
    drawn = random_theta(rule)
    return drawn | {"decays": rule.init(jax.random.key(0))["decays"]} if "decays" in drawn else drawn


def as_optax(name, gain=1.0):
    """The optimizer of `gain` times theta."""
    return RULES[name].as_optax(jax.tree.map(lambda x: gain * x, theta(name)))
