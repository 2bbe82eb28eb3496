"""python -m experiments.lion_search [--preset quick|small|paper] [--search.steps ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.lion_search.config import StudyConfig
from experiments.lion_search.presets import PRESETS
from experiments.lion_search.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
