"""Rules for learning from a trajectory: learned and hand-designed, in one form."""

from lopt.objectives.a2c import A2C, A2CTargets
from lopt.objectives.lpg import LPG, LPGPenalty, LPGTargets
from lopt.objectives.time import FractionAndLogLifetime, NoTime, RawTime

__all__ = ["A2C", "LPG", "A2CTargets", "FractionAndLogLifetime", "LPGPenalty", "LPGTargets", "NoTime", "RawTime"]
