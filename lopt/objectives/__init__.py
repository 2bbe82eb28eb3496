"""Rules for learning from a trajectory: learned and hand-designed, in one form."""

from lopt.objectives.a2c import A2C, A2CTargets
from lopt.objectives.lpg import LPG, LPGPenalty, LPGTargets
from lopt.objectives.time import Fraction, FractionAndLogLifetime, NoTime, RawTime, RemainingFraction

__all__ = [
    "A2C",
    "LPG",
    "A2CTargets",
    "Fraction",
    "FractionAndLogLifetime",
    "LPGPenalty",
    "LPGTargets",
    "NoTime",
    "RawTime",
    "RemainingFraction",
]
