"""python -m experiments.lion_search [--preset quick|small|paper] [--search.steps ...] [--help]

The search that found Lion: programs of optimizers.

Examples:
    python -m experiments.lion_search  # ten minutes on two cores
    python -m experiments.lion_search --search.steps 20000 --out runs/short  # a shorter search
    python -m experiments.lion_search --preset small --out runs/small  # a longer one

Main options: --preset, --out, --seed, --max-minutes, --resume,
    --search.steps, --search.population, --search.tournament, --eval.tasks,
    --eval.seeds
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.search.config import PRESETS, StudyConfig
from experiments.search.train import main

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)
