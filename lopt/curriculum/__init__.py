"""Curricula, which choose the levels of new lifetimes, and scores, the replay priorities of levels."""

from lopt.curriculum.buffer import ACTIVE, EMPTY, SCORED, Buffer, Extremes, extremes
from lopt.curriculum.replay import Priority, Proportional, Rank, Replay, TopK
from lopt.curriculum.sampling import DomainRandomisation, FrozenSet, RateBandit
from lopt.curriculum.scores import (
    AlgorithmicRegret,
    L1ValueLoss,
    LifetimeReward,
    MaxMC,
    OracleRegret,
    PositiveValueLoss,
    Uniform,
)

__all__ = [
    "ACTIVE",
    "EMPTY",
    "SCORED",
    "AlgorithmicRegret",
    "Buffer",
    "DomainRandomisation",
    "Extremes",
    "FrozenSet",
    "L1ValueLoss",
    "LifetimeReward",
    "MaxMC",
    "OracleRegret",
    "PositiveValueLoss",
    "Priority",
    "Proportional",
    "Rank",
    "RateBandit",
    "Replay",
    "TopK",
    "Uniform",
    "extremes",
]
