"""python -m experiments.learned_optimizer [--preset quick|small|paper|normalised] [--training.task digits|cartpole]"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

import sys

from experiments.cli.command_line import launch, option
from experiments.cli.environments import is_environment
from experiments.optimizer import normalised, rl
from experiments.optimizer.config import PRESETS, StudyConfig
from experiments.optimizer.train import main

if __name__ == "__main__":
    if option("--preset", sys.argv[1:]) in normalised.PRESETS:
        launch(normalised.main, normalised.NormalisedStudyConfig, normalised.PRESETS)
    elif is_environment(option("--training.task", sys.argv[1:]) or ""):
        launch(rl.main, rl.RLStudyConfig, rl.PRESETS)
    else:
        launch(main, StudyConfig, PRESETS)
