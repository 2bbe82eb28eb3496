"""python -m experiments.icl_uncertainty [--preset quick|regression|diversity|paper] [--task.pools ...] [--help]

In-context regression beside the exact Bayes posterior.

Examples:
    python -m experiments.icl_uncertainty  # five minutes on two cores
    python -m experiments.icl_uncertainty --preset diversity --out runs/diversity  # over the pool of functions

Main options: --preset, --out, --seed, --max-minutes, --resume, --task.pools,
    --training.num-steps, --training.batch
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.incontext.uncertainty.config import PRESETS, StudyConfig
from experiments.incontext.uncertainty.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
