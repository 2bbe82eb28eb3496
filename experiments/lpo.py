"""python -m experiments.lpo [--preset quick|ta|paper] [--envs CartPole-v1 ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.drift.config import PRESETS, DriftStudyConfig
from experiments.drift.train import main

if __name__ == "__main__":
    launch(main, DriftStudyConfig, PRESETS)
