"""Optimizers as optax transformations: Lion, the Lion-K family with its kernels, and learned optimizers."""

from lopt.optimizers.differentiable import differentiable
from lopt.optimizers.kernels import (
    L1,
    L2,
    Group,
    HalfL1Square,
    HalfSquare,
    Huber,
    LInf,
    LogCosh,
    Lp,
    NewtonSchulz,
    Nuclear,
    PerLeaf,
    Quadratic,
    Relativistic,
    Softmax,
    SoftThreshold,
    TopK,
    polar,
)
from lopt.optimizers.learnable import FromOptax, LearnableAdam, LearnableSGD, Schedule, Scheduled
from lopt.optimizers.lion import cautious, kkt_gap, lion, lion_k, muon, scale_by_lion, scale_by_lion_k
from lopt.optimizers.mlp_rule import AdafactorRule, MLPRule
from lopt.optimizers.normalised_rule import NormalisedRule
from lopt.optimizers.open_rule import OpenRule, layer_positions
from lopt.optimizers.recurrent_rule import HierarchicalRule, LSTMRule

__all__ = [
    "L1",
    "L2",
    "AdafactorRule",
    "FromOptax",
    "Group",
    "HalfL1Square",
    "HalfSquare",
    "Huber",
    "HierarchicalRule",
    "LInf",
    "LSTMRule",
    "LearnableAdam",
    "LearnableSGD",
    "LogCosh",
    "Lp",
    "MLPRule",
    "NewtonSchulz",
    "NormalisedRule",
    "Nuclear",
    "OpenRule",
    "PerLeaf",
    "Quadratic",
    "Relativistic",
    "Schedule",
    "Scheduled",
    "SoftThreshold",
    "Softmax",
    "TopK",
    "cautious",
    "differentiable",
    "kkt_gap",
    "layer_positions",
    "lion",
    "lion_k",
    "muon",
    "polar",
    "scale_by_lion",
    "scale_by_lion_k",
]
