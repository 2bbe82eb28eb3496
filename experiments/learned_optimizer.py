"""python -m experiments.learned_optimizer [--preset quick|small|paper|normalised] [--training.task digits|cartpole]

Meta-trains an optimizer; tuned baselines beside it.

Examples:
    python -m experiments.learned_optimizer  # seven minutes on two cores
    python -m experiments.learned_optimizer --rule.name mlp --out runs/mlp  # another optimizer
    python -m experiments.learned_optimizer --preset normalised --out runs/normalised  # your learning rate, nine tasks
    python -m experiments.learned_optimizer --training.task cartpole --out runs/open  # OPEN, for PPO agents

Main options: --preset, --out, --seed, --max-minutes, --resume, --rule.name,
    --training.task, --meta.estimator, --meta.num-steps, --eval.tasks
"""

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
