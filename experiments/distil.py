"""python -m experiments.distil --rule runs/lpo/rule [--preset quick|optimizer|small] [--search.steps ...] [--help]

A learned drift or optimizer as a formula.

Examples:
    python -m experiments.distil --rule lpo-cartpole  # a shipped drift, two minutes
    python -m experiments.distil --rule runs/lpo/rule --out runs/formula  # a drift of a run
    python -m experiments.distil --preset optimizer --rule adafactor-mlp-digits  # an optimizer

Main options: --rule, --preset, --out, --seed, --max-minutes, --resume,
    --search.steps, --choice.tolerance
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.search.distil.config import PRESETS, DistilConfig
from experiments.search.distil.train import main

if __name__ == "__main__":
    launch(main, DistilConfig, PRESETS)
