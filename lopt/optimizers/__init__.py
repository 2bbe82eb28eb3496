"""Optimizers as optax transformations: Lion, the Lion-K family and its kernels."""

from lopt.optimizers.cautious import cautious
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
from lopt.optimizers.kkt import kkt_gap
from lopt.optimizers.lion import lion, scale_by_lion
from lopt.optimizers.lion_k import lion_k, scale_by_lion_k

__all__ = [
    "L1",
    "L2",
    "Group",
    "HalfL1Square",
    "HalfSquare",
    "Huber",
    "LInf",
    "LogCosh",
    "Lp",
    "NewtonSchulz",
    "Nuclear",
    "PerLeaf",
    "Quadratic",
    "Relativistic",
    "SoftThreshold",
    "Softmax",
    "TopK",
    "cautious",
    "kkt_gap",
    "lion",
    "lion_k",
    "polar",
    "scale_by_lion",
    "scale_by_lion_k",
]
