"""python -m experiments.groove [--preset quick|small|paper] [--score ...] [--help]

GROOVE: meta-trains a rule on levels of high regret.

Examples:
    python -m experiments.groove  # five minutes on two cores
    python -m experiments.groove --max-minutes 2 --out runs/short  # stops after two minutes, with a report
    python -m experiments.groove --score uniform --out runs/lpg --seed 1  # the control without replay
    python -m experiments.groove --preset paper --out runs/paper  # the paper's sizes

Main options: --preset, --out, --seed, --max-minutes, --resume, --score,
    --levels.distribution, --meta.num-steps, --meta.num-lifetimes,
    --rule.objective
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.grid.config import StudyConfig
from experiments.grid.groove_presets import PRESETS
from experiments.grid.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
