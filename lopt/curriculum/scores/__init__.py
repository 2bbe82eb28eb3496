"""Scores of finished lifetimes, by which a curriculum prioritises levels for replay."""

from lopt.curriculum.scores.algorithmic_regret import AlgorithmicRegret
from lopt.curriculum.scores.lifetime_reward import LifetimeReward
from lopt.curriculum.scores.max_mc import MaxMC
from lopt.curriculum.scores.oracle_regret import OracleRegret
from lopt.curriculum.scores.uniform import Uniform
from lopt.curriculum.scores.value_loss import L1ValueLoss, PositiveValueLoss

__all__ = [
    "AlgorithmicRegret",
    "L1ValueLoss",
    "LifetimeReward",
    "MaxMC",
    "OracleRegret",
    "PositiveValueLoss",
    "Uniform",
]
