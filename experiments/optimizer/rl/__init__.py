"""Meta-training of the optimizer of PPO agents in an RL environment, and meta-testing beside tuned Adam and Lion."""

from experiments.optimizer.rl.config import PRESETS, RLStudyConfig
from experiments.optimizer.rl.train import main

__all__ = ["PRESETS", "RLStudyConfig", "main"]
