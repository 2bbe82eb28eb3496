"""python -m experiments.ppo [--env Breakout-MinAtar] [--drifts ppo dpo runs/lpo/rule] [--seeds 4] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.drift.config import PPO_PRESETS, PPOConfig
from experiments.drift.ppo import main

if __name__ == "__main__":
    launch(main, PPOConfig, PPO_PRESETS)
