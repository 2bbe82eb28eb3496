"""Meta-training of `NormalisedRule` on many tasks, and meta-testing on held-out ones beside tuned optimizers."""

from experiments.optimizer.normalised.config import PRESETS, NormalisedStudyConfig
from experiments.optimizer.normalised.train import main

__all__ = ["PRESETS", "NormalisedStudyConfig", "main"]
