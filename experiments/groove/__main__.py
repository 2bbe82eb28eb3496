"""python -m experiments.groove [--preset quick|small|paper] [--score ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.gridworld.config import StudyConfig
from experiments.gridworld.train import main
from experiments.groove.presets import PRESETS

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
