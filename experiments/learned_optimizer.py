"""python -m experiments.learned_optimizer [--preset quick|small|paper] [--training.task ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.optimizer.config import PRESETS, StudyConfig
from experiments.optimizer.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
