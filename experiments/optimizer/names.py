"""Names on the command line, and the objects that they stand for."""

from collections.abc import Callable
from typing import Any

import optax

from lopt import lion, optimizers
from lopt.protocols import LearnedOptimizer

RULES: dict[str, Callable[..., LearnedOptimizer]] = {
    "adafactor_mlp": optimizers.AdafactorRule,
    "mlp": optimizers.MLPRule,
    "hierarchical": optimizers.HierarchicalRule,
    "open": optimizers.OpenRule,
    "lstm": optimizers.LSTMRule,
    "adam": optimizers.LearnableAdam,
    "sgd": optimizers.LearnableSGD,
}
SIZED = ("adafactor_mlp", "mlp", "hierarchical", "open")
"""Rules with the options `rule.step_size` and `rule.exponent`."""

ESTIMATORS = ("pes", "nres", "es", "meta_gradient")
CURRICULA = ("uniform", "replay")

BASELINES: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "SGD": lambda rate: optax.sgd(rate, 0.9),
    "Adam": optax.adam,
    "AdamW": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "Lion": lambda rate: lion(rate, weight_decay=1e-2),
}
"""Baselines as functions of the learning rate; SGD has momentum 0.9, AdamW and Lion a weight decay of 0.01."""
