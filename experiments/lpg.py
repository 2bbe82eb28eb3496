"""python -m experiments.lpg [--preset quick|small|paper|ta|ta_paper] [--levels.distribution ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.grid.config import StudyConfig
from experiments.grid.lpg_presets import PRESETS
from experiments.grid.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
