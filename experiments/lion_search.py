"""python -m experiments.lion_search [--preset quick|small|paper] [--search.steps ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.search.config import PRESETS, StudyConfig
from experiments.search.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
