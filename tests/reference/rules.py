"""All learned optimizers, with non-zero meta-parameters."""

import functools

import jax
import numpy as np

from lopt import optimizers as lo
from tests.reference.lifetimes import random_theta

RULES = {
    "learnable SGD": lo.LearnableSGD(momentum=0.5),
    "learnable Adam": lo.LearnableAdam(),
    "MLP": lo.MLPRule(hidden=(4,), step_size=0.1, exponent=0.1),
    "Adafactor MLP": lo.AdafactorRule(step_size=0.1, exponent=0.1),
    "hierarchical": lo.HierarchicalRule(recurrent=3, control=2, hidden=(4,), step_size=0.1, exponent=0.1),
    "OPEN": lo.OpenRule(recurrent=4, width=8, step_size=0.1, exponent=0.1),
    "LSTM": lo.LSTMRule(hidden=2),
    "normalised": lo.NormalisedRule(hidden=(3,), learning_rate=0.1),
}
NEED_PARAMS = ("MLP", "Adafactor MLP", "hierarchical", "OPEN", "normalised")


@functools.cache
def theta(name):
    """Random meta-parameters of order one; decays and constants of learnable optimizers have their initial values."""
    rule = RULES[name]
    if name.startswith("learnable"):
        return jax.tree.map(np.asarray, rule.init(jax.random.key(0)))
    random = random_theta(rule)
    return random | {"decays": rule.init(jax.random.key(0))["decays"]} if "decays" in random else random


def as_optax(name, gain=1.0):
    """The optimizer with meta-parameters `gain` times theta."""
    return RULES[name].as_optax(jax.tree.map(lambda x: gain * x, theta(name)))
