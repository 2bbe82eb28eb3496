"""python -m experiments.lpg [--preset quick|small|paper|ta|ta_paper] [--levels.distribution ...] [--help]

LPG, TA-LPG: meta-trains a rule on random levels.

Examples:
    python -m experiments.lpg  # five minutes on two cores
    python -m experiments.lpg --preset ta  # with the learner's progress, by evolution strategies
    python -m experiments.lpg --levels.distribution mazes --out runs/mazes  # other levels
    python -m experiments.lpg --preset paper --out runs/paper  # the paper's sizes

Main options: --preset, --out, --seed, --max-minutes, --resume,
    --levels.distribution, --levels.num-updates, --rule.time,
    --meta.num-steps, --es.strategy
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.grid.config import StudyConfig
from experiments.grid.lpg_presets import PRESETS
from experiments.grid.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
