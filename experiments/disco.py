"""python -m experiments.disco [--preset quick|disco103|published] [--rule PATH] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.discorl.config import PRESETS, DiscoStudyConfig
from experiments.discorl.train import main

if __name__ == "__main__":
    launch(main, DiscoStudyConfig, PRESETS)
