"""python -m experiments.gpicl [--preset quick|sweep|paper] [--tasks.num-tasks N] [--model.name ...] [--help]

GPICL: sequence models that learn in their context.

Examples:
    python -m experiments.gpicl  # four minutes on two cores
    python -m experiments.gpicl --preset sweep --out runs/sweep  # over the number of tasks
    python -m experiments.gpicl --model.name lstm --out runs/lstm  # another model

Main options: --preset, --out, --seed, --max-minutes, --resume, --model.name,
    --tasks.num-tasks, --tasks.data, --meta.num-steps, --sweep.values
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.incontext.gpicl.config import PRESETS, StudyConfig
from experiments.incontext.gpicl.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
