"""python -m experiments.distil --rule runs/lpo/rule [--preset quick|optimizer|small] [--search.steps ...] [--help]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.search.distil.config import PRESETS, DistilConfig
from experiments.search.distil.train import main

if __name__ == "__main__":
    launch(main, DistilConfig, PRESETS)
