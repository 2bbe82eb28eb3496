"""python -m experiments.gpicl [--preset quick|sweep|paper] [--tasks.num-tasks N] [--model.name ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.incontext.gpicl.config import PRESETS, StudyConfig
from experiments.incontext.gpicl.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
