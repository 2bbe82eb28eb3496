"""RL objectives and drifts: learned ones, and the hand-designed baselines in the same form."""

from lopt.objectives.a2c import A2C, A2CTargets, ScheduledA2C
from lopt.objectives.disco import (
    DiscoInputs,
    DiscoOutput,
    DiscoRegulariser,
    DiscoRule,
    DiscoState,
    DiscoTargets,
    ValueBins,
)
from lopt.objectives.drift import DPO, LPO, TALPO, Clip, Drift
from lopt.objectives.lpg import LPG, LPGRegulariser, LPGTargets
from lopt.objectives.ppo import PPO, PPOTargets, bind_drift, clip_drift, dpo_drift, ppo_loss
from lopt.objectives.time import Fraction, FractionAndLogNumUpdates, FrozenProgress, NoTime, RemainingFraction

__all__ = [
    "A2C",
    "DPO",
    "FrozenProgress",
    "LPG",
    "LPO",
    "PPO",
    "TALPO",
    "A2CTargets",
    "Clip",
    "DiscoInputs",
    "DiscoOutput",
    "DiscoRegulariser",
    "DiscoRule",
    "DiscoState",
    "DiscoTargets",
    "Drift",
    "Fraction",
    "FractionAndLogNumUpdates",
    "LPGRegulariser",
    "LPGTargets",
    "NoTime",
    "PPOTargets",
    "RemainingFraction",
    "ScheduledA2C",
    "ValueBins",
    "bind_drift",
    "clip_drift",
    "dpo_drift",
    "ppo_loss",
]
